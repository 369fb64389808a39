//! From the signers that are known here to those that sign now (protocol.md section 2, "Signers").
//!
//! Each hand-over is signed by one of the set before it, so a chain leads on from what was pinned
//! or it leads nowhere. Pure: what it leads to is in force only once it has signed a list.

use super::judge::{self, Refusal};
use crate::keys::PublicKey;
use crate::trust::verify_any;
use crate::wire::{HANDOVER_NAMESPACE, Handover, HandoverPayload};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Most hand-overs that are followed.
const MAX_CHAIN: usize = 64;

/// Follows a chain; the known set where there is none.
pub(super) fn follow(known: &[PublicKey], chain: &[Handover]) -> Result<Vec<PublicKey>, Refusal> {
    if chain.len() > MAX_CHAIN {
        let fault = format!("over {MAX_CHAIN} hand-overs");
        return Err(Refusal::Malformed(fault));
    }
    let mut set = known.to_vec();
    for handover in chain {
        let payload = STANDARD
            .decode(&handover.payload)
            .map_err(|_| Refusal::Malformed("a hand-over is not base64".to_owned()))?;
        let signatures = std::slice::from_ref(&handover.signature);
        verify_any(HANDOVER_NAMESPACE, &payload, signatures, &set)
            .map_err(|_| Refusal::Signature)?;
        let payload: HandoverPayload = serde_json::from_slice(&payload)
            .map_err(|fault| Refusal::Malformed(fault.to_string()))?;
        if payload.v != 1 {
            let fault = format!("hand-over version {} is not known", payload.v);
            return Err(Refusal::Malformed(fault));
        }
        set = judge::signers(&payload.signers)?;
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Signer;

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(&[seed; 32])
    }

    fn handover(by: u8, to: &[u8]) -> Handover {
        let payload = HandoverPayload {
            v: 1,
            signers: to.iter().map(|n| signer(*n).public().to_string()).collect(),
        };
        let payload = serde_json::to_vec(&payload).unwrap();
        Handover {
            signature: signer(by).sign(HANDOVER_NAMESPACE, &payload),
            payload: STANDARD.encode(payload),
        }
    }

    #[test]
    fn a_chain_leads_on_from_what_is_known_and_from_nothing_else() {
        let known = [signer(1).public()];
        let chain = [handover(1, &[2, 1]), handover(2, &[2]), handover(2, &[3])];
        assert_eq!(follow(&known, &chain).unwrap(), [signer(3).public()]);
        assert_eq!(follow(&known, &[]).unwrap(), known);
        // One is missing, or another signs.
        let broken = follow(&known, &chain[1..]).unwrap_err();
        assert!(matches!(broken, Refusal::Signature));
        let foreign = [handover(1, &[2]), handover(9, &[9])];
        assert!(matches!(
            follow(&known, &foreign).unwrap_err(),
            Refusal::Signature
        ));
    }

    #[test]
    fn a_set_has_one_to_four() {
        let known = [signer(1).public()];
        for to in [&[] as &[u8], &[1, 2, 3, 4, 5]] {
            let fault = follow(&known, &[handover(1, to)]).unwrap_err();
            assert!(matches!(fault, Refusal::Malformed(_)));
        }
        let many = vec![handover(1, &[1]); 65];
        assert!(matches!(
            follow(&known, &many).unwrap_err(),
            Refusal::Malformed(_)
        ));
    }
}
