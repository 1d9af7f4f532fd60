//! The signing key: ECDSA P-256, the one kind that every verifier of Sigstore bundles accepts. Made at the first start,
//! readable by its owner only; the public half lies beside it for everybody.

use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::rand_core::OsRng;
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::LineageError;
use crate::digest;

pub struct Key {
    signing: SigningKey,
    public: PublicKey,
}

#[derive(Debug, Clone)]
pub struct PublicKey {
    verifying: VerifyingKey,
    pem: String,
}

/// Where the public half lies: `lineage.key` -> `lineage.pub`.
pub fn public_path(key: &Path) -> PathBuf {
    key.with_extension("pub")
}

impl Key {
    /// Loads the key at `path`, or makes it. Two processes that start at once end with the same key.
    pub fn open(path: &Path) -> Result<Key, LineageError> {
        match Key::load(path) {
            Err(LineageError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Key::create(path),
            other => other,
        }
    }

    fn load(path: &Path) -> Result<Key, LineageError> {
        let mode = fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            let why = format!("{}: others can read it (mode {:o}); chmod 600", path.display(), mode & 0o777);
            return Err(LineageError::Key(why));
        }
        let pem = fs::read_to_string(path)?;
        let signing = SigningKey::from_pkcs8_pem(&pem)
            .map_err(|error| LineageError::Key(format!("{}: not an ECDSA P-256 key: {error}", path.display())))?;
        Key::from_signing(signing)
    }

    fn create(path: &Path) -> Result<Key, LineageError> {
        let signing = SigningKey::random(&mut OsRng);
        let pem = signing.to_pkcs8_pem(LineEnding::LF).map_err(|error| LineageError::Key(error.to_string()))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        let draft = dir.join(format!(".{}.{}", super::stamp::ulid(), "key"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        // A link, not a rename: it fails where another process was first, and then that one's key is the key.
        let linked = fs::hard_link(&draft, path);
        fs::remove_file(&draft)?;
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        let key = Key::load(path)?;
        fs::write(public_path(path), key.public.pem())?;
        fs::File::open(dir)?.sync_all()?;
        Ok(key)
    }

    fn from_signing(signing: SigningKey) -> Result<Key, LineageError> {
        let public = PublicKey::from_verifying(*signing.verifying_key())?;
        Ok(Key { signing, public })
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// DER. The nonce comes from the message (RFC 6979), so the same message has the same signature.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.signing.sign(message);
        signature.to_der().as_bytes().to_vec()
    }
}

impl PublicKey {
    fn from_verifying(verifying: VerifyingKey) -> Result<PublicKey, LineageError> {
        let pem = verifying.to_public_key_pem(LineEnding::LF).map_err(|error| LineageError::Key(error.to_string()))?;
        Ok(PublicKey { verifying, pem })
    }

    pub fn load(path: &Path) -> Result<PublicKey, LineageError> {
        let pem = fs::read_to_string(path)?;
        let verifying = VerifyingKey::from_public_key_pem(&pem)
            .map_err(|error| LineageError::Key(format!("{}: not a P-256 public key: {error}", path.display())))?;
        PublicKey::from_verifying(verifying)
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Names the key in a record: the digest of its PEM text.
    pub fn hint(&self) -> String {
        digest::of_bytes(self.pem.as_bytes())
    }

    pub fn verifies(&self, message: &[u8], signature_der: &[u8]) -> bool {
        Signature::from_der(signature_der).is_ok_and(|signature| self.verifying.verify(message, &signature).is_ok())
    }
}
