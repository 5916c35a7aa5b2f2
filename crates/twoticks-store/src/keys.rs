//! The key file, and what is done with it: sealing, keyed hashes.
//!
//! One file of 32 random bytes stands behind everything that is secret at rest. For each purpose
//! a sub-key is derived from it, so that what is sealed for one purpose does not open for
//! another. To add a use, give it a purpose of its own; purposes and the codes of [`HashOf`] are
//! never reused, because stored hashes and sealed bytes depend on them. Nothing here is ever
//! shown: `Debug` is empty and the key is wiped from memory when it is dropped.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::zeroize::{Zeroize, Zeroizing};
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;
use twoticks_core::ids::{ChannelId, Hash};

/// Length of the key file, in bytes.
pub const KEY_BYTES: usize = 32;
/// What sealing adds to the plain bytes: version, nonce and tag.
pub const SEAL_BYTES: usize = 1 + NONCE_BYTES + 16;

const NONCE_BYTES: usize = 24;
/// XChaCha20-Poly1305 under HMAC-SHA-256(master, "seal:" + purpose), random nonce.
const SEAL_VERSION: u8 = 1;

/// The keys of one installation.
pub struct Keys {
    master: SecretBox<[u8; KEY_BYTES]>,
    /// Keyed once, because every event is hashed under it.
    hashing: Hmac<Sha256>,
}

/// What a hash stands for: hashes of different kinds never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HashOf {
    /// The id of a message that a business sent (wamid, or CAMS's message id).
    Message = 1,
    /// The id of an inbound message: a tap.
    Inbound = 2,
    /// A person: the number or BSUID of a recipient or of a group's participant.
    Recipient = 3,
    /// An app secret: which one let a webhook in.
    AppSecret = 4,
    /// What a caller calls a call, to be known when it is made again.
    Idempotency = 5,
    /// Where something is passed on to.
    Destination = 6,
    /// What says that a link is one that we made.
    Link = 7,
}

/// Why a key cannot be had, or does not open something.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use the key file `{path}`; it has to be a file that this user may read")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A new key would overwrite one that exists, and with it all that it sealed.
    #[error("the key file `{path}` exists already; a new key goes to another path")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It is not a key of 32 bytes.
    #[error("the key file `{path}` has {bytes} bytes; a key has exactly 32")]
    Length {
        /// The file.
        path: PathBuf,
        /// How long it is, up to 33.
        bytes: usize,
    },
    /// Everybody on the machine may read it.
    #[error("the key file `{path}` has mode {mode:03o}, so that others may read it; `chmod 600`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Sealed with another key or for another purpose, or changed since.
    #[error("sealed bytes do not open: another key sealed them, or they have been changed")]
    Sealed,
    /// Sealed by a newer version of the program.
    #[error("sealed bytes have version {found}, this program knows up to {SEAL_VERSION}; upgrade")]
    NewerVersion {
        /// The version they have.
        found: u8,
    },
}

impl Keys {
    /// Makes a new key of random bytes and keeps it in `path`, readable by its owner only. The
    /// file is on disk when this returns.
    ///
    /// # Errors
    /// [`KeyError::Exists`] rather than overwriting, [`KeyError::Io`].
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|error| io(error.into()))?;
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = match opened {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(KeyError::Exists { path: path.to_owned() });
            }
            other => other.map_err(io)?,
        };
        if let Err(error) = file.write_all(bytes.as_slice()).and_then(|()| file.sync_all()) {
            // A part of a key would stand in the way of the next attempt and open nothing.
            drop(std::fs::remove_file(path));
            return Err(io(error));
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        Ok(Self::from_bytes(*bytes))
    }

    /// Reads the key in `path`. That the group may read it is logged as a warning.
    ///
    /// # Errors
    /// [`KeyError::Exposed`] if everybody may read it, [`KeyError::Length`], [`KeyError::Io`].
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        if mode & 0o070 != 0 {
            tracing::warn!(
                keys.path = %path.display(),
                "the key file is open to its group, mode {mode:03o}; `chmod 600` closes it"
            );
        }
        let mut read = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
        file.take(KEY_BYTES as u64 + 1).read_to_end(&mut read).map_err(io)?;
        match <[u8; KEY_BYTES]>::try_from(read.as_slice()) {
            Ok(bytes) => Ok(Self::from_bytes(bytes)),
            Err(_) => Err(KeyError::Length { path: path.to_owned(), bytes: read.len() }),
        }
    }

    /// Takes a key from elsewhere: a test, or a key management service.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; KEY_BYTES]) -> Self {
        let master = SecretBox::new(Box::new(bytes));
        bytes.zeroize();
        let hashing = keyed(derive(&master, "hash").as_slice());
        Self { master, hashing }
    }

    /// Seals `plain` for `purpose`; `aad` is not kept in it, but has to be given again, unchanged,
    /// to open it. [`SEAL_BYTES`] longer than `plain`.
    #[must_use]
    pub fn seal(&self, purpose: &str, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the operating system has random bytes");
        let sealed = self
            .cipher(purpose)
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad })
            .expect("XChaCha20-Poly1305 takes up to 256 GiB");
        let mut out = Vec::with_capacity(plain.len() + SEAL_BYTES);
        out.push(SEAL_VERSION);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    /// Opens what [`Keys::seal`] made with the same purpose and `aad`.
    ///
    /// # Errors
    /// [`KeyError::Sealed`] if it is not that, [`KeyError::NewerVersion`].
    pub fn open_sealed(
        &self,
        purpose: &str,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let (&version, rest) = sealed.split_first().ok_or(KeyError::Sealed)?;
        match version {
            SEAL_VERSION => {}
            newer if newer > SEAL_VERSION => return Err(KeyError::NewerVersion { found: newer }),
            _ => return Err(KeyError::Sealed),
        }
        let (nonce, msg) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(KeyError::Sealed)?;
        self.cipher(purpose)
            .decrypt(&XNonce::from(*nonce), Payload { msg, aad })
            .map_err(|_| KeyError::Sealed)
    }

    /// The keyed hash by which `text` is known within `channel`: the first 16 bytes of
    /// HMAC-SHA-256. Another kind or another channel gives another hash of the same text.
    #[must_use]
    pub fn hash(&self, kind: HashOf, channel: &ChannelId, text: &[u8]) -> Hash {
        let channel = channel.as_str().as_bytes();
        let length = u8::try_from(channel.len()).expect("a channel id has at most 128 bytes");
        let mut mac = self.hashing.clone();
        mac.update(&[kind as u8, length]);
        mac.update(channel);
        mac.update(text);
        let out: [u8; 32] = mac.finalize().into_bytes().into();
        let (first, _) = out.split_first_chunk::<16>().expect("32 bytes have 16 first ones");
        Hash(*first)
    }

    fn cipher(&self, purpose: &str) -> XChaCha20Poly1305 {
        let key = derive(&self.master, &format!("seal:{purpose}"));
        XChaCha20Poly1305::new_from_slice(key.as_slice()).expect("a sub-key has 32 bytes")
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// The sub-key for `purpose`.
fn derive(master: &SecretBox<[u8; KEY_BYTES]>, purpose: &str) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut mac = keyed(master.expose_secret());
    mac.update(purpose.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Keys {
        Keys::from_bytes([7; KEY_BYTES])
    }

    fn channel(id: &str) -> ChannelId {
        ChannelId::new(id).unwrap()
    }

    #[test]
    fn a_key_file_is_made_once_for_its_owner_and_opens_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = Keys::create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Keys::create(&path), Err(KeyError::Exists { .. })));
        let sealed = made.seal("test", b"", b"plain");
        let opened = Keys::open(&path).unwrap();
        assert_eq!(opened.open_sealed("test", b"", &sealed).unwrap(), b"plain");
    }

    /// Set for the child of the next test: where to make a key.
    const CHILD: &str = "TWOTICKS_KEY_WITHOUT_ROOM";

    #[test]
    fn a_full_disk_leaves_no_part_of_a_key_behind() {
        if let Some(path) = std::env::var_os(CHILD) {
            let made = Keys::create(Path::new(&path));
            assert!(matches!(made, Err(KeyError::Io { .. })), "{made:?}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let this = concat!(module_path!(), "::a_full_disk_leaves_no_part_of_a_key_behind");
        let this = this.split_once("::").unwrap().1;
        // The shell lets no file grow at all and has writing fail instead of ending the child.
        let child = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", this, "--nocapture"])
            .env(CHILD, &path)
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "it did run");
        assert!(!path.exists());
        Keys::create(&path).unwrap();
    }

    #[test]
    fn a_key_file_of_another_length_or_open_to_all_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for length in [0, 31, 33, 1_000] {
            std::fs::write(&path, vec![1; length]).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let seen = length.min(33);
            let opened = Keys::open(&path);
            assert!(
                matches!(opened, Err(KeyError::Length { bytes, .. }) if bytes == seen),
                "{length}"
            );
        }
        std::fs::write(&path, [1; 32]).unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, true), (0o644, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Keys::open(&path).is_ok(), fine, "{mode:o}");
        }
        assert!(matches!(Keys::open(&folder.path().join("none")), Err(KeyError::Io { .. })));
    }

    #[test]
    fn keys_show_nothing() {
        assert_eq!(format!("{:?}", keys()), "Keys(…)");
    }

    #[test]
    fn what_is_sealed_opens_only_as_it_was_sealed() {
        let sealed = keys().seal("body", b"header", b"plain");
        assert_eq!(sealed.len(), 5 + SEAL_BYTES);
        assert_eq!(keys().open_sealed("body", b"header", &sealed).unwrap(), b"plain");
        assert!(keys().open_sealed("secret", b"header", &sealed).is_err());
        assert!(keys().open_sealed("body", b"other", &sealed).is_err());
        assert!(Keys::from_bytes([8; 32]).open_sealed("body", b"header", &sealed).is_err());
        assert_ne!(sealed, keys().seal("body", b"header", b"plain"), "nonces are random");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys().open_sealed("body", b"header", &changed).is_err(), "byte {at}");
            assert!(keys().open_sealed("body", b"header", &sealed[..at]).is_err(), "cut {at}");
        }
        let mut newer = sealed;
        newer[0] = 2;
        let opened = keys().open_sealed("body", b"header", &newer);
        assert!(matches!(opened, Err(KeyError::NewerVersion { found: 2 })));
    }

    #[test]
    fn hashes_and_sealed_bytes_stay_what_they_were_for_ever() {
        // Stored hashes would match nothing any more if these changed.
        let hash = keys().hash(HashOf::Message, &channel("cams-1"), b"wamid.A");
        assert_eq!(hash.to_string(), "71b29661edb55925ebb7afbcc2be5e38");
        let sealed = include_bytes!("../tests/data/sealed-v1.bin");
        assert_eq!(keys().open_sealed("body", b"header", sealed).unwrap(), b"a body, sealed");
    }

    #[test]
    fn hashes_of_different_kinds_and_channels_never_meet() {
        let keys = keys();
        let mut seen = std::collections::BTreeSet::new();
        for kind in [
            HashOf::Message,
            HashOf::Inbound,
            HashOf::Recipient,
            HashOf::AppSecret,
            HashOf::Idempotency,
            HashOf::Destination,
            HashOf::Link,
        ] {
            for (id, text) in [("a", "bc"), ("ab", "c"), ("a", "b"), ("ab", "")] {
                assert!(seen.insert(keys.hash(kind, &channel(id), text.as_bytes())), "{id} {text}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(plain: Vec<u8>, aad: Vec<u8>) {
            let sealed = keys().seal("body", &aad, &plain);
            prop_assert_eq!(keys().open_sealed("body", &aad, &sealed).unwrap(), plain);
        }

        #[test]
        fn any_rubbish_is_refused(rubbish: Vec<u8>) {
            prop_assert!(keys().open_sealed("body", b"", &rubbish).is_err());
        }
    }
}
