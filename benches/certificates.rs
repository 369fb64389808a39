//! Certificates signed a second, beside bare Ed25519 signing of as many bytes by the same library,
//! by turns in one run on one core; and a revocation list of 100,000 serials, made and encoded.
//! `cargo bench --bench certificates`. To reach: a certificate under three bare signatures.

use russh::keys::signature::Signer as _;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use sshkeyd::keys::PublicKey;
use sshkeyd::trust::{Krl, Limits, NewCertificate, Role, Signer, account_principal};
use std::error::Error;
use std::hint::black_box;
use support::{Times, timed};

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

/// Signatures a round, and rounds.
const LOT: u64 = 200;
const ROUNDS: u64 = 50;
/// About what a user's certificate has to sign.
const MESSAGE: usize = 384;

/// Serials that are revoked.
const SERIALS: u64 = 100_000;

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn main() -> Result<(), Box<dyn Error>> {
    let [mut certificates, mut bare] = [0; 2].map(|_| Times::default());
    let (ca, seed) = (
        Signer::from_seed(&[1; 32]),
        Ed25519Keypair::from_seed(&[1; 32]),
    );
    let (key, plain) = (support::key(7), PrivateKey::from(seed));
    let message = vec![7; MESSAGE];
    for round in 0..ROUNDS {
        let (time, made) = timed(|| {
            (0..LOT).try_for_each(|n| {
                black_box(certify(&ca, &key, 1 + round * LOT + n)?);
                Ok::<_, Box<dyn Error>>(())
            })
        });
        made?;
        certificates.push(time);
        let (time, made) = timed(|| {
            (0..LOT).try_for_each(|_| {
                plain
                    .try_sign(black_box(&message))
                    .map(|made| drop(black_box(made)))
            })
        });
        made?;
        bare.push(time);
    }
    let rate = |times: &Times| LOT as f64 * 1_000.0 / times.median();
    println!("certificates a second  {:9.0}", rate(&certificates));
    println!("bare signatures        {:9.0}", rate(&bare));
    println!(
        "  bare / certificate   {:9.2}\n",
        rate(&bare) / rate(&certificates)
    );

    println!("{SERIALS} serials            median       p90     least");
    let ranges = (0..10).flat_map(|n| (0..SERIALS / 10).map(move |m| 1 + n * 1_000_000 + m));
    let alternate = (0..SERIALS).map(|n| 1 + n * 2);
    let random = (0..SERIALS).map(|n| 1 + n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_000);
    row("ranges", &ranges.collect::<Vec<_>>(), &ca.public());
    row("alternate", &alternate.collect::<Vec<_>>(), &ca.public());
    row("random", &random.collect::<Vec<_>>(), &ca.public());
    Ok(())
}

fn certify(ca: &Signer, key: &PublicKey, serial: u64) -> Result<String, Box<dyn Error>> {
    let hour = jiff::SignedDuration::from_hours(1);
    let made = ca.certify(
        &NewCertificate {
            role: Role::User,
            key,
            serial,
            key_id: "1/7/12",
            principals: &[account_principal(1)],
            valid_after: jiff::Timestamp::UNIX_EPOCH,
            valid_before: jiff::Timestamp::UNIX_EPOCH + hour,
            limits: &Limits::none(),
        },
        &rand::random(),
    )?;
    Ok(made)
}

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn row(name: &str, serials: &[u64], ca: &PublicKey) {
    let [mut making, mut encoding] = [0; 2].map(|_| Times::default());
    let mut bytes = 0;
    for _ in 0..20 {
        let (time, krl) = timed(|| {
            let mut krl = Krl::default();
            let of_ca = krl.of_ca(ca);
            for serial in serials {
                of_ca.serials.insert(*serial);
            }
            krl
        });
        making.push(time);
        let (time, encoded) = timed(|| krl.encode());
        encoding.push(time);
        bytes = encoded.len();
    }
    println!("{name:10} made        {}", making.row());
    println!("{name:10} encoded     {}   {bytes} bytes", encoding.row());
}
