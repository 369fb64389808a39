//! The person at the keyboard: a line that is asked for, and a secret that is not shown.
//!
//! termios(3), tty(4). A secret is read key by key, without echo, with erase and kill as elsewhere;
//! an interrupt is seen here, so that the terminal is as it was before however the question ends.
//! Refuses to take a pipe for a person: whoever calls reads those as files.

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use zeroize::Zeroizing;

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 4096;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const KILL: u8 = 0x15;
const ERASE: u8 = 0x7f;

/// A terminal that somebody sits at.
#[derive(Debug)]
pub struct Terminal {
    tty: File,
}

impl Terminal {
    /// The terminal that standard input is; none where that is a file or a pipe.
    ///
    /// # Errors
    /// There is one, and it cannot be opened.
    pub fn open() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let opened = OpenOptions::new().read(true).write(true).open("/dev/tty");
        let tty = match opened {
            Ok(tty) => tty,
            // No controlling terminal: what we were given is one all the same.
            Err(_) => File::from(stdin.as_fd().try_clone_to_owned()?),
        };
        Ok(Some(Self { tty }))
    }

    /// Asks, and gives the line that is typed, without its end.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where nothing is typed but the end of it.
    pub fn ask(&mut self, question: &str) -> io::Result<String> {
        self.tty.write_all(question.as_bytes())?;
        let mut line = Vec::new();
        loop {
            match self.key()? {
                None if line.is_empty() => return Err(nothing()),
                None | Some(b'\n') => break,
                Some(byte) => push(&mut line, byte)?,
            }
        }
        String::from_utf8(line).map_err(|_| not_text())
    }

    /// The same, and what is typed is not shown.
    ///
    /// # Errors
    /// As [`Terminal::ask`]; [`io::ErrorKind::Interrupted`] for control-C.
    pub fn ask_hidden(&mut self, question: &str) -> io::Result<Zeroizing<String>> {
        let quiet = Quiet::begin(self.tty.try_clone()?)?;
        self.tty.write_all(question.as_bytes())?;
        let line = self.hidden_line();
        drop(quiet);
        self.tty.write_all(b"\n")?;
        let line = line?;
        let text = std::str::from_utf8(&line).map_err(|_| not_text())?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn hidden_line(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        // Room for all of it: a vector that grows would leave copies behind.
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
        loop {
            match self.key()? {
                None | Some(END) if line.is_empty() => return Err(nothing()),
                None | Some(b'\n' | b'\r') => return Ok(line),
                Some(INTERRUPT) => {
                    let what = "given up at the keyboard";
                    return Err(io::Error::new(io::ErrorKind::Interrupted, what));
                }
                Some(KILL) => line.clear(),
                Some(ERASE | BACKSPACE) => erase(&mut line),
                // What else a key may send is no part of a password.
                Some(byte) if byte < b' ' => {}
                Some(byte) => push(&mut line, byte)?,
            }
        }
    }

    /// One byte; none at the end.
    fn key(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        loop {
            match self.tty.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(byte.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn push(line: &mut Vec<u8>, byte: u8) -> io::Result<()> {
    if line.len() == MAX_ANSWER {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "over 4 KiB, which is no answer",
        ));
    }
    line.push(byte);
    Ok(())
}

/// Takes the last character away: in UTF-8, all bytes of it.
fn erase(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

fn nothing() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "nothing was typed")
}

fn not_text() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what was typed is not UTF-8")
}

/// No echo and key by key, until this is dropped.
struct Quiet {
    tty: File,
    before: Termios,
}

impl Quiet {
    fn begin(tty: File) -> io::Result<Self> {
        let before = tcgetattr(&tty)?;
        let mut quiet = before.clone();
        quiet
            .local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::IEXTEN);
        for (index, value) in [
            (SpecialCharacterIndices::VMIN, 1),
            (SpecialCharacterIndices::VTIME, 0),
        ] {
            if let Some(place) = quiet.control_chars.get_mut(index as usize) {
                *place = value;
            }
        }
        tcsetattr(&tty, SetArg::TCSADRAIN, &quiet)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Where it cannot be put back there is no terminal any more.
        let _ = tcsetattr(&self.tty, SetArg::TCSADRAIN, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;

    /// A terminal, and the keyboard and screen of whoever sits at it.
    fn terminal() -> (Terminal, File) {
        let pty = openpty(None, None).unwrap();
        let tty = File::from(pty.slave);
        (Terminal { tty }, File::from(pty.master))
    }

    /// Types `keys` once the question stands there; gives the answer and what was on the screen.
    fn answer(keys: &'static [u8]) -> (io::Result<Zeroizing<String>>, String) {
        let (mut terminal, mut person) = terminal();
        let before = tcgetattr(&terminal.tty).unwrap();
        let typing = std::thread::spawn(move || {
            let mut screen = Vec::new();
            let mut byte = [0];
            while !screen.ends_with(b"Password: ") {
                person.read_exact(&mut byte).unwrap();
                screen.push(byte[0]);
            }
            person.write_all(keys).unwrap();
            while !screen.ends_with(b"\n") {
                person.read_exact(&mut byte).unwrap();
                screen.push(byte[0]);
            }
            // Kept open: a terminal that is hung up has no settings.
            (String::from_utf8(screen).unwrap(), person)
        });
        let answer = terminal.ask_hidden("Password: ");
        let (screen, _person) = typing.join().unwrap();
        let after = tcgetattr(&terminal.tty).unwrap();
        assert_eq!(after.local_flags, before.local_flags);
        (answer, screen)
    }

    #[test]
    fn a_secret_is_read_with_its_corrections_and_never_shown() {
        let (secret, screen) = answer("wrong\x15correct hörsö\x7f\x7fe\x1b\n".as_bytes());
        assert_eq!(secret.unwrap().as_str(), "correct höre");
        assert_eq!(screen, "Password: \r\n");
    }

    #[test]
    fn control_c_ends_the_question_and_leaves_the_terminal_as_it_was() {
        let (secret, screen) = answer(b"half\x03");
        assert_eq!(secret.unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert_eq!(screen, "Password: \r\n");
        let (secret, _) = answer(b"\x04");
        assert_eq!(secret.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_line_is_what_stands_before_its_end() {
        let (mut terminal, mut person) = terminal();
        person.write_all(b"alice@example.com\n").unwrap();
        assert_eq!(terminal.ask("E-mail: ").unwrap(), "alice@example.com");
        person.write_all(&[END]).unwrap();
        let fault = terminal.ask("E-mail: ").unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::UnexpectedEof);
    }
}
