//! `tls_certificate` and `tls_key`: the operator's own certificate, for those who ask for its names.
//!
//! Must never quote a key in an error.

use super::error::SettingsError;
use docxy_host::files::input_file;
use docxy_transport::tcp::{CertificateError, NamedCertificate};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Why the operator's certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are a path and what is wrong")]
pub enum TlsFileError {
    #[error("tls_certificate and tls_key belong together: set both, or neither")]
    Alone,
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("tls_certificate {} is not PEM: {source}", path.display())]
    CertificatePem { path: PathBuf, source: pem::Error },
    #[error("tls_certificate {} has no certificate: it must begin with the server's own, and the chain follows", .0.display())]
    NoCertificate(PathBuf),
    #[error(
        "tls_key {} is encrypted, and the server cannot ask for its password: write it without one \
         (openssl pkey -in FILE -out NEW), readable by the server alone",
        .0.display()
    )]
    Encrypted(PathBuf),
    #[error("tls_key {} has no private key in PEM (PKCS #8, PKCS #1 or SEC 1): {source}", path.display())]
    KeyPem { path: PathBuf, source: pem::Error },
    #[error(
        "tls_key {} is not the key of tls_certificate {}: renew both together",
        key.display(),
        certificate.display()
    )]
    OtherKey { certificate: PathBuf, key: PathBuf },
    #[error("tls_certificate {}: {source}", path.display())]
    Certificate { path: PathBuf, source: CertificateError },
}

/// The operator's own certificate.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    certificate: NamedCertificate,
    paths: Paths,
    /// Whether every user of the machine can read the key.
    is_key_public: bool,
}

#[derive(Debug, Clone)]
struct Paths {
    certificate: PathBuf,
    key: PathBuf,
}

impl TlsSettings {
    /// The certificate. Logs its names, and what is wrong but no error.
    pub(crate) fn in_use(&self) -> NamedCertificate {
        let (certificate, key) = (self.paths.certificate.display(), self.paths.key.display());
        tracing::info!(names = self.certificate.names().join(" "), "tls_certificate is in use on TCP");
        if self.is_key_public {
            tracing::warn!("every user of this machine can read tls_key {key}: chmod 600 it");
        }
        if let Some(problem) = self.certificate.date_problem() {
            tracing::warn!("tls_certificate {certificate} {problem}: renew it, then reload (SIGHUP)");
        }
        self.certificate.clone()
    }
}

/// Reads certificate and key, if both are set.
pub(super) fn load(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<TlsSettings>, SettingsError> {
    Ok(match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(read(Paths { certificate, key })?),
        _ => return Err(TlsFileError::Alone.into()),
    })
}

fn read(paths: Paths) -> Result<TlsSettings, TlsFileError> {
    let (path, content) = (paths.certificate.clone(), read_file(&paths.certificate)?);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let chain = chain.map_err(|source| TlsFileError::CertificatePem { path: path.clone(), source })?;
    if chain.is_empty() {
        return Err(TlsFileError::NoCertificate(path));
    }
    let private = read_key(&paths.key)?;
    let certificate = NamedCertificate::new(chain, private).map_err(|source| match source {
        CertificateError::Tls(rustls::Error::InconsistentKeys(_)) => {
            TlsFileError::OtherKey { certificate: path, key: paths.key.clone() }
        }
        source => TlsFileError::Certificate { path, source },
    })?;
    let is_key_public = std::fs::metadata(&paths.key).is_ok_and(|file| file.mode() & 0o004 != 0);
    Ok(TlsSettings { certificate, paths, is_key_public })
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let content = read_file(path)?;
    // The labels of PKCS #8 (RFC 7468, section 11) and of older keys (RFC 1421, section 4.6.1.1).
    let is_encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| content.windows(mark.len()).any(|bytes| bytes == *mark));
    if is_encrypted {
        return Err(TlsFileError::Encrypted(path.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&content);
    key.map_err(|source| TlsFileError::KeyPem { path: path.to_owned(), source })
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    input_file::read(path).map_err(|source| TlsFileError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::super::{CommonFlags, Flags, Settings};
    use super::*;

    /// Loads the settings with these files, and these settings beside them.
    fn load(text: &str, files: &[(&str, &str)]) -> Result<Option<TlsSettings>, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files.iter().chain([&("server.toml", text)]) {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let flags = Flags {
            common: CommonFlags { config: Some(dir.path().join("server.toml")), ..CommonFlags::default() },
            ..Flags::default()
        };
        Settings::load(&flags).map(|settings| settings.tls).map_err(|error| error.to_string())
    }

    const BOTH: &str = "tls_certificate = 'cert.pem'\ntls_key = 'key.pem'";

    fn made(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn certificate_and_key_are_read_from_beside_the_config_file() {
        let (certificate, key) = made("pull.example.org");
        let named = load(BOTH, &[("cert.pem", &certificate), ("key.pem", &key)]).unwrap().unwrap();
        assert_eq!(named.certificate.names(), ["pull.example.org"]);
        assert!(named.is_key_public, "the test writes it for everybody");
        assert!(load("", &[]).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_to_do() {
        let ((certificate, key), (_, other_key)) = (made("pull.example.org"), made("pull.example.org"));
        let (nameless, nameless_key) = made("192.0.2.1");
        let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let old_encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let alone = "belong together";
        let (cert, key) = (("cert.pem", &certificate[..]), ("key.pem", &key[..]));
        for (text, files, words) in [
            ("tls_certificate = 'cert.pem'", vec![cert], alone),
            ("tls_key = 'key.pem'", vec![key], alone),
            (BOTH, vec![key], "cert.pem: No such file"),
            (BOTH, vec![cert], "key.pem: No such file"),
            (BOTH, vec![("cert.pem", "hello"), key], "has no certificate"),
            (
                BOTH,
                vec![("cert.pem", "-----BEGIN CERTIFICATE-----\n***\n-----END CERTIFICATE-----\n"), key],
                "is not PEM",
            ),
            (
                BOTH,
                vec![("cert.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key],
                "cert.pem: ",
            ),
            (BOTH, vec![cert, ("key.pem", &certificate)], "has no private key"),
            (BOTH, vec![cert, ("key.pem", &other_key)], "is not the key of"),
            (BOTH, vec![cert, ("key.pem", &encrypted)], "is encrypted"),
            (BOTH, vec![cert, ("key.pem", old_encrypted)], "is encrypted"),
            (BOTH, vec![("cert.pem", &nameless), ("key.pem", &nameless_key)], "no DNS name"),
        ] {
            let error = load(text, &files).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("PRIVATE"), "{error}");
        }
    }
}
