//! Files that know what they are: a tag, a version and a checksum around the content.
//!
//! ```text
//! offset  size
//!      0     6  "muster"
//!      6     4  tag of the kind
//!     10     2  version of the content's format, little endian
//!     12     4  length of the content, little endian
//!     16     n  content
//!   16+n    16  first half of SHA-256 over everything before
//! ```

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{StateError, write_durably};

const MAGIC: &[u8; 6] = b"muster";
const HEADER_LEN: usize = 16;
const CHECKSUM_LEN: usize = 16;

/// A kind of small file: how it is told apart, and what to say when it is damaged.
#[derive(Debug, Clone, Copy)]
pub struct FileKind {
    /// Four letters that no other kind has.
    pub tag: [u8; 4],
    /// Version of the content's format; a file with a higher one is refused.
    pub version: u16,
    /// What the file is for, as a noun phrase for messages.
    pub what: &'static str,
    /// What an operator can do about a damaged one, as a sentence.
    pub remedy: &'static str,
    /// Most bytes of content; a longer file is damaged, and is not read into memory.
    pub size_max: usize,
}

impl FileKind {
    /// Replaces the file durably (see [`write_durably`]).
    ///
    /// # Errors
    /// [`StateError::Io`], with the old content still in place.
    pub fn write(&self, path: &Path, content: &[u8]) -> Result<(), StateError> {
        debug_assert!(content.len() <= self.size_max, "{} too long", self.what);
        write_durably(path, &self.seal(content))
    }

    /// The content; `None` when there is no such file.
    ///
    /// # Errors
    /// [`StateError::Damaged`] or [`StateError::Newer`] when it is not a whole file of this kind,
    /// [`StateError::Io`] when it cannot be read.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StateError> {
        let longest = self.size_max + HEADER_LEN + CHECKSUM_LEN;
        let mut bytes = Vec::new();
        let read =
            File::open(path).and_then(|file| file.take(longest as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => self.unseal(path, bytes).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StateError::io("read", path, error)),
        }
    }

    /// The error that says that the content of a whole file makes no sense.
    pub fn damaged(&self, path: &Path, detail: impl Into<String>) -> StateError {
        StateError::Damaged {
            path: path.to_owned(),
            what: self.what,
            detail: detail.into(),
            remedy: self.remedy,
        }
    }

    fn seal(&self, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN + content.len() + CHECKSUM_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.tag);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        let length =
            u32::try_from(content.len()).expect("size_max of every kind is far below 4 GiB");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(content);
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum[..CHECKSUM_LEN]);
        bytes
    }

    fn unseal(&self, path: &Path, mut bytes: Vec<u8>) -> Result<Vec<u8>, StateError> {
        if bytes.len() < HEADER_LEN + CHECKSUM_LEN {
            return Err(self.damaged(path, format!("only {} bytes are left of it", bytes.len())));
        }
        if &bytes[..6] != MAGIC || bytes[6..10] != self.tag {
            return Err(self.damaged(path, "it is some other file"));
        }
        let declared = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
        let present = bytes.len() - HEADER_LEN - CHECKSUM_LEN;
        if declared != present || declared > self.size_max {
            return Err(self.damaged(
                path,
                format!("it declares {declared} bytes and has {present}"),
            ));
        }
        let body = bytes.len() - CHECKSUM_LEN;
        if Sha256::digest(&bytes[..body])[..CHECKSUM_LEN] != bytes[body..] {
            return Err(self.damaged(path, "its checksum does not match"));
        }
        let found = u16::from_le_bytes([bytes[10], bytes[11]]);
        if found > self.version {
            return Err(StateError::Newer {
                path: path.to_owned(),
                what: self.what,
                found,
                known: self.version,
            });
        }
        bytes.truncate(body);
        bytes.drain(..HEADER_LEN);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: FileKind = FileKind {
        tag: *b"test",
        version: 2,
        what: "a test file",
        remedy: "Do nothing.",
        size_max: 256,
    };

    fn path() -> &'static Path {
        Path::new("/some/file")
    }

    #[test]
    fn a_missing_file_is_not_an_error() {
        assert!(KIND.read(Path::new("/nonexistent")).unwrap().is_none());
    }

    #[test]
    fn newer_and_foreign_files_are_told_apart() {
        let newer = FileKind { version: 3, ..KIND }.seal(b"x");
        assert!(matches!(
            KIND.unseal(path(), newer),
            Err(StateError::Newer { found: 3, .. })
        ));
        let foreign = FileKind {
            tag: *b"othr",
            ..KIND
        }
        .seal(b"x");
        assert!(matches!(
            KIND.unseal(path(), foreign),
            Err(StateError::Damaged { .. })
        ));
    }

    #[test]
    fn an_overlong_file_is_not_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![0; 1 << 20]).unwrap();
        assert!(matches!(KIND.read(&path), Err(StateError::Damaged { .. })));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(content in proptest::collection::vec(any::<u8>(), 0..256)) {
            prop_assert_eq!(KIND.unseal(path(), KIND.seal(&content)).unwrap(), content);
        }

        #[test]
        fn any_truncation_or_flipped_bit_is_noticed(
            content in proptest::collection::vec(any::<u8>(), 0..64), cut in any::<prop::sample::Index>(),
            bit in 0..8u32,
        ) {
            let whole = KIND.seal(&content);
            let at = cut.index(whole.len());
            prop_assert!(KIND.unseal(path(), whole[..at].to_vec()).is_err());
            let mut altered = whole;
            altered[at] ^= 1 << bit;
            prop_assert!(KIND.unseal(path(), altered).is_err());
        }
    }
}
