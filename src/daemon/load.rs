//! From a checked configuration to everything that is served and watched: the zone files read,
//! parsed, bound to their pools and compiled. All or nothing: one bad zone and nothing changes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::dns::{Cookies, Dns, Tls};
use crate::config::{self, Config, Serve};
use crate::director::settings::{Settings, ZoneSettings};
use crate::dns::cookie::{SECRET_LEN, Secrets};
use crate::failover::binding::Binding;
use crate::failover::pool::Pool;
use crate::table::Catalog;
use crate::table::compile::CompileError;
use crate::table::policy::Policy;
use crate::table::zone_table::{Mode, ZoneTable};
use crate::zone::Zone;
use crate::zone::diagnostic::{Diagnostic, Severity};

use crate::control::Exit;

use super::failure::Failure;

/// Largest zone file, in octets.
const ZONE_FILE_MAX: u64 = 2 << 30;

/// What a configuration leads to.
pub struct Loaded {
    pub settings: Settings,
    pub catalog: Arc<Catalog>,
    /// What the server says of itself.
    pub policy: Arc<Policy>,
    /// What the encrypted transports show.
    pub certificate: Option<Arc<CertifiedKey>>,
    /// Parallel to [`Settings::zones`].
    pub zones: Vec<LoadedZone>,
    /// Indexes of the zones that are in the catalog, in its order.
    pub served: Vec<usize>,
    /// What `check` shows though it stops nothing, a line each.
    pub warnings: Vec<String>,
}

/// A zone as it was when it was loaded.
pub struct LoadedZone {
    pub config: config::Zone,
    /// What the file held.
    pub bytes: Arc<[u8]>,
    pub records: usize,
    pub failover_records: usize,
}

/// Reads everything that `config` names. The failure has a line for each thing that is wrong.
pub fn load(config: &Config) -> Result<Loaded, Failure> {
    let mut lines = Vec::new();
    let mut loaded = Loaded {
        settings: Settings { pools: config.pools.clone(), checks: config.checks.clone(), zones: Vec::new() },
        catalog: no_zones(),
        policy: Arc::default(),
        certificate: None,
        zones: Vec::new(),
        served: Vec::new(),
        warnings: Vec::new(),
    };
    match policy(&config.dns) {
        Ok(policy) => loaded.policy = Arc::new(policy),
        Err(line) => lines.push(line),
    }
    match config.tls.as_ref().map(certificate).transpose() {
        Ok(certificate) => loaded.certificate = certificate.map(Arc::new),
        Err(line) => lines.push(line),
    }
    let mut tables = Vec::new();
    for zone in &config.zones {
        match one(zone, &config.pools) {
            Ok(one) => {
                if let Some(table) = one.table {
                    loaded.served.push(loaded.zones.len());
                    tables.push(Arc::new(table));
                }
                loaded.warnings.extend(one.warnings);
                loaded.zones.push(one.zone);
                loaded.settings.zones.push(one.settings);
            }
            Err(errors) => lines.extend(errors),
        }
    }
    if !lines.is_empty() {
        return Err(Failure::new(Exit::Usage, lines));
    }
    loaded.catalog = Arc::new(Catalog::new(tables).map_err(|error| Failure::usage(error.to_string()))?);
    Ok(loaded)
}

/// Reads the file of cookie secrets, if there is one: each reload does, which is how they roll over.
fn policy(dns: &Dns) -> Result<Policy, String> {
    let boxed = |text: &Vec<u8>| text.clone().into_boxed_slice();
    let cookies = match &dns.cookies {
        Cookies::Off => None,
        Cookies::Own => Secrets::new(vec![random_secret()?]),
        Cookies::File(path) => {
            let failed = |error: String| format!("{}: error: {error}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
            Some(Secrets::from_text(&text).map_err(|error| failed(error.to_string()))?)
        }
    };
    let (version, identity) = (dns.version.as_ref().map(boxed), dns.identity.as_ref().map(boxed));
    Ok(Policy { nsid: boxed(&dns.nsid), version, identity, cookies })
}

/// Reads certificate and key; each reload does, which is how they are renewed.
fn certificate(tls: &Tls) -> Result<CertifiedKey, String> {
    let of = |path: &Path, error: String| format!("{}: error: {error}", path.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&tls.cert).and_then(Iterator::collect);
    let chain = chain.map_err(|error| of(&tls.cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(of(&tls.cert, "it holds no certificate; write it in PEM form".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| of(&tls.key, error.to_string()))?;
    let provider = rustls::crypto::ring::default_provider();
    // Fails where key and certificate do not belong together.
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| of(&tls.key, error.to_string()))
}

/// One for the whole life of the process: a reload must not make the cookies of all clients worthless.
fn random_secret() -> Result<[u8; SECRET_LEN], String> {
    static SECRET: OnceLock<[u8; SECRET_LEN]> = OnceLock::new();
    let mut fresh = [0; SECRET_LEN];
    SystemRandom::new().fill(&mut fresh).map_err(|_| "the system gives no random octets".to_owned())?;
    Ok(*SECRET.get_or_init(|| fresh))
}

/// What is served before anything was decided.
pub fn no_zones() -> Arc<Catalog> {
    Arc::new(Catalog::new(Vec::new()).expect("no zone is no duplicate"))
}

/// Reads a zone file, within bounds.
pub fn read_zone_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(ZONE_FILE_MAX)).unwrap_or(0));
    file.take(ZONE_FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > ZONE_FILE_MAX {
        return Err(io::Error::other(format!("it is larger than {} MiB", ZONE_FILE_MAX >> 20)));
    }
    Ok(bytes)
}

/// Reads and parses the zone of a configuration, and finds the pools of its tags. The error holds a
/// line for each thing that is wrong, the other side a line for each warning.
pub fn parse(zone: &config::Zone, pools: &[Pool]) -> Result<Parsed, Vec<String>> {
    let file = zone.file.display().to_string();
    let bytes = read_zone_file(&zone.file).map_err(|error| {
        vec![format!(
            "{file}: error: cannot read the file of zone {}: {error}; mend the path or its permissions",
            zone.origin
        )]
    })?;
    let kept: Arc<[u8]> = bytes.as_slice().into();
    let parsed = Zone::parse(&zone.origin, &file, bytes).map_err(|found| errors_of(&found))?;
    let (binding, found) = Binding::new(&parsed, zone.pool, pools);
    if found.iter().any(Diagnostic::is_error) {
        return Err(errors_of(&found));
    }
    let warnings = parsed.warnings().iter().chain(&found).map(ToString::to_string).collect();
    Ok(Parsed { zone: parsed, binding, bytes: kept, warnings })
}

pub struct Parsed {
    pub zone: Zone,
    pub binding: Binding,
    /// What the file holds.
    pub bytes: Arc<[u8]>,
    pub warnings: Vec<String>,
}

struct One {
    zone: LoadedZone,
    settings: ZoneSettings,
    table: Option<ZoneTable>,
    warnings: Vec<String>,
}

fn one(config: &config::Zone, pools: &[Pool]) -> Result<One, Vec<String>> {
    let Parsed { zone, binding, bytes, warnings } = parse(config, pools)?;
    let table = match config.serve {
        Serve::Off => None,
        Serve::Overlay => Some(compile(&zone, &binding, pools, Mode::Overlay).map_err(|line| vec![line])?),
        Serve::Zone => Some(compile(&zone, &binding, pools, Mode::Whole).map_err(|line| vec![line])?),
    };
    let settings = ZoneSettings {
        origin: config.origin.clone(),
        pools: binding.pools().to_vec(),
        scheme: config.serial,
        serial_in_file: zone.serial(),
        roles_in_file: binding.roles_in_file(&zone, pools),
        export: config.export_file.is_some(),
    };
    let failover_records = zone.failover_records().count();
    let records = zone.records().len();
    Ok(One { zone: LoadedZone { config: config.clone(), bytes, records, failover_records }, settings, table, warnings })
}

fn compile(zone: &Zone, binding: &Binding, pools: &[Pool], mode: Mode) -> Result<ZoneTable, String> {
    let records = zone.records().map(|found| {
        let slot = found.tag.as_ref().and_then(|tag| binding.slot(tag));
        (found.record, slot)
    });
    let named = |error: CompileError| format!("{}: error: zone {}: {error}", zone.file(), zone.origin());
    ZoneTable::compile(zone.origin(), records, pools, mode).map_err(named)
}

fn errors_of(found: &[Diagnostic]) -> Vec<String> {
    found.iter().filter(|one| one.severity == Severity::Error).map(ToString::to_string).collect()
}
