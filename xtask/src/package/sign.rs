//! Test signatures: a key for each package, which nobody keeps.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::command;

/// What the certificate says of itself.
const SUBJECT: &str = "/CN=wskguard test signing, not for release";
const DAYS: &str = "365";

/// A key and its self-signed certificate. Dropping it removes the key.
#[derive(Debug)]
pub(super) struct Signer {
    folder: PathBuf,
}

impl Signer {
    /// Makes both in `folder`, which must not be there.
    pub(super) fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let signer = Self {
            folder: folder.to_path_buf(),
        };
        let mut openssl = Command::new("openssl");
        openssl
            .args([
                "req", "-x509", "-newkey", "rsa:3072", "-sha256", "-nodes", "-days", DAYS,
            ])
            .args(["-subj", SUBJECT])
            .args(["-addext", "basicConstraints=critical,CA:false"])
            .args(["-addext", "keyUsage=critical,digitalSignature"])
            .args(["-addext", "extendedKeyUsage=codeSigning"])
            .arg("-keyout")
            .arg(signer.key())
            .arg("-out")
            .arg(signer.certificate());
        command::output(&mut openssl).context("making the test certificate")?;
        Ok(signer)
    }

    /// The certificate, in PEM, which Windows' tools read as well.
    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// Signs `from` as `to`, SHA-256, without a time stamp: nobody outside is asked.
    pub(super) fn sign(&self, from: &Path, to: &Path) -> Result<()> {
        if to.exists() {
            fs::remove_file(to)?;
        }
        let mut tool = Command::new("osslsigncode");
        tool.args(["sign", "-h", "sha256", "-n", "wskguard", "-certs"])
            .arg(self.certificate())
            .arg("-key")
            .arg(self.key())
            .arg("-in")
            .arg(from)
            .arg("-out")
            .arg(to);
        command::output(&mut tool).map(drop)
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // A key that stays is of no use once its certificate is trusted nowhere; it lies below the target folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Checks the signature of `file` against `certificate`, by another program than ours. Returns the digest that it
/// calculated of the file.
pub(super) fn verify(file: &Path, certificate: &Path) -> Result<String> {
    let mut tool = Command::new("osslsigncode");
    tool.arg("verify").arg("-CAfile").arg(certificate).arg("-in").arg(file);
    let text = command::output(&mut tool)?;
    ensure!(text.contains("Signature verification: ok"), "not verified:\n{text}");
    let digest = text
        .lines()
        .find_map(|line| line.strip_prefix("Calculated message digest")?.split_once(':'));
    let (_, digest) = digest.with_context(|| format!("no digest in\n{text}"))?;
    Ok(digest.trim().to_lowercase())
}
