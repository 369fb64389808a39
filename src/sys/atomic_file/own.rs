//! What only files that are ours alone need: a mode that everybody may read, and going away.

use super::current::Seen;
use super::{CommitError, Current, Dir, Staged, temp_prefix};
use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;

impl Staged<'_> {
    /// Lets everybody read it: 0644.
    ///
    /// # Errors
    /// What fchmod(2) says; nothing is left behind.
    pub fn readable(self) -> io::Result<Self> {
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        rustix::fs::fchmod(&self.temp.file, mode)?;
        Ok(self)
    }
}

impl Current {
    /// Takes the file away, when it still is what was read. `unique` names it on its way out.
    ///
    /// # Errors
    /// [`CommitError::Changed`] when something else stands there by now; that stays.
    pub fn remove(self, dir: &Dir, name: &OsStr, unique: u64) -> Result<(), CommitError> {
        let now = dir.look(name)?.map(|stat| Seen::of(&stat));
        if now != Some(self.seen) {
            return Err(CommitError::Changed);
        }
        let mut away = temp_prefix(name);
        away.push(format!("{unique:016x}"));
        match rustix::fs::renameat(dir, name, dir, &away) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(CommitError::Changed),
            Err(Errno::BUSY) => return Err(CommitError::Busy),
            Err(fault) => return Err(io::Error::from(fault).into()),
        }
        let taken = dir.look(&away)?.map(|stat| Seen::of(&stat));
        if !taken.is_some_and(|taken| taken.same_file(&self.seen)) {
            // Somebody's rename came between the look and ours: theirs goes back.
            let back = rustix::fs::renameat_with(dir, &away, dir, name, RenameFlags::NOREPLACE);
            back.map_err(io::Error::from)?;
            return Err(CommitError::Changed);
        }
        rustix::fs::unlinkat(dir, &away, AtFlags::empty()).map_err(io::Error::from)?;
        Ok(dir.sync()?)
    }
}
