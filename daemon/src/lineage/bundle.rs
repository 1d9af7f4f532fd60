//! The wrapping of a record: DSSE envelope inside a Sigstore bundle v0.3, one line of JSON.
//!
//! What is signed is not the JSON but its pre-authentication encoding:
//! `DSSEv1 <length of type> <type> <length of payload> <payload>`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::key::{Key, PublicKey};
use super::{LineageError, RECORD_BYTES_MAX};

pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

/// Signs a statement and wraps it; ends with a newline.
pub fn wrap(statement: &Value, key: &Key) -> Vec<u8> {
    let payload = statement.to_string().into_bytes();
    let signature = key.sign(&pre_authentication(&payload));
    let bundle = json!({
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key.public().hint()}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": BASE64.encode(&payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": BASE64.encode(signature), "keyid": ""}],
        },
    });
    let mut line = bundle.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// A record that was read and not yet believed.
#[derive(Debug, Clone)]
pub struct Unwrapped {
    pub statement: Value,
    payload: Vec<u8>,
    signatures: Vec<Vec<u8>>,
    pub key_hint: String,
}

/// What a record's signature is worth to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    Ok,
    /// Signed by a key that we don't have: neither right nor wrong.
    UnknownKey,
    /// It names a key that we have, and that key did not sign this.
    Bad,
}

pub fn unwrap(bytes: &[u8]) -> Result<Unwrapped, LineageError> {
    let bad = |what: &str| LineageError::Malformed(what.to_owned());
    if bytes.len() as u64 > RECORD_BYTES_MAX {
        return Err(bad("larger than a record can be"));
    }
    let bundle: Value = serde_json::from_slice(bytes).map_err(|error| bad(&error.to_string()))?;
    let envelope = &bundle["dsseEnvelope"];
    if envelope["payloadType"] != PAYLOAD_TYPE {
        return Err(bad("not a DSSE envelope around an in-toto statement"));
    }
    let decode = |value: &Value, what: &str| {
        let text = value.as_str().ok_or_else(|| bad(what))?;
        BASE64.decode(text).map_err(|_| bad(what))
    };
    let payload = decode(&envelope["payload"], "its payload is not base64")?;
    let listed = envelope["signatures"].as_array().ok_or_else(|| bad("it has no signatures"))?;
    let signatures: Result<Vec<_>, _> =
        listed.iter().map(|entry| decode(&entry["sig"], "a signature is not base64")).collect();
    let statement = serde_json::from_slice(&payload).map_err(|error| bad(&error.to_string()))?;
    let key_hint = bundle["verificationMaterial"]["publicKey"]["hint"].as_str().unwrap_or_default().to_owned();
    Ok(Unwrapped { statement, payload, signatures: signatures?, key_hint })
}

impl Unwrapped {
    pub fn trust(&self, keys: &[PublicKey]) -> Trust {
        let message = pre_authentication(&self.payload);
        let signed_by = |key: &PublicKey| self.signatures.iter().any(|signature| key.verifies(&message, signature));
        // The hint is not signed, so it can't clear a record; any key of ours that verifies does.
        if keys.iter().any(signed_by) {
            return Trust::Ok;
        }
        if keys.iter().any(|key| key.hint() == self.key_hint) { Trust::Bad } else { Trust::UnknownKey }
    }
}
