//! Cold runs: the files of a query are read from the disk, as after the machine started.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

/// Linux drops what it keeps of files when a number is written here; root may.
const SWITCH: &str = "/proc/sys/vm/drop_caches";
/// Pages of files, and what is known of folders.
const ALL: &str = "3";

/// What the system keeps of files in memory.
#[derive(Clone, Debug)]
pub(crate) struct PageCache {
    switch: PathBuf,
}

impl PageCache {
    /// That of this machine, dropped once; the error says why it cannot be.
    pub(crate) fn of_machine() -> Result<Self, String> {
        // Pages that are not written yet would stay.
        if let Err(error) = Command::new("sync").status() {
            tracing::debug!(%error, "files are not written through");
        }
        Self::with_switch(SWITCH.into())
    }

    fn with_switch(switch: PathBuf) -> Result<Self, String> {
        let cache = Self { switch };
        match cache.drop_pages() {
            Ok(()) => Ok(cache),
            Err(error) => Err(format!(
                "runs are not cold, {} cannot be written ({error}): run as root on Linux, or in a container with --privileged",
                cache.switch.display()
            )),
        }
    }

    /// Forgets what was read.
    pub(crate) fn drop_pages(&self) -> io::Result<()> {
        // The switch is there; a file that is not is none.
        let mut options = fs::OpenOptions::new();
        let mut switch = options.write(true).open(&self.switch)?;
        io::Write::write_all(&mut switch, ALL.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_written_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let switch = folder.path().join("drop_caches");
        let error = PageCache::with_switch(switch.clone()).unwrap_err();
        assert!(error.contains("drop_caches cannot be written"), "{error}");
        assert!(!switch.exists());
        fs::write(&switch, "").unwrap();
        let cache = PageCache::with_switch(switch.clone()).unwrap();
        assert_eq!(fs::read_to_string(&switch).unwrap(), ALL);
        fs::write(&switch, "").unwrap();
        cache.drop_pages().unwrap();
        assert_eq!(fs::read_to_string(&switch).unwrap(), ALL);
    }
}
