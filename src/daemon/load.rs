//! From a checked configuration to everything that is served and watched: the zone files read,
//! parsed, bound to their pools and compiled. All or nothing: one bad zone and nothing changes.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use domain::base::iana::Rtype;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::dns::{Cookies, Dns, Tls};
use crate::config::zones::{FileSource, link_remark, read_file};
use crate::config::{self, Config, Serve};
use crate::director::event::Target;
use crate::director::settings::{Settings, ZoneSettings};
use crate::dns::access::Key;
use crate::dns::cookie::{SECRET_LEN, Secrets};
use crate::export;
use crate::export::serial::SerialScheme;
use crate::export::skeleton::Skeleton;
use crate::failover::binding::Binding;
use crate::failover::pool::{Pool, PoolToldRoles};
use crate::serve::sys::pages;
use crate::table::Catalog;
use crate::table::compile::{CompileError, Compiler, Problem};
use crate::table::policy::Policy;
use crate::table::transfer::fingerprint::Fingerprint;
use crate::table::zone_table::{Mode, ZoneTable};
use crate::zone::Zone;
use crate::zone::diagnostic::{Diagnostic, Severity};
use crate::zone::document::DOCUMENT_MAX;
use crate::zone::source::Included;
use crate::zone::tag::Role;

use crate::control::Exit;
use crate::control::text::count_of;

use super::failure::Failure;
use super::notices::{Followers, followers};
use super::targets::{self, Looked};
use super::{parent, transfers};

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
    /// What each target of the director means, by name.
    pub targets: HashMap<Target, Arc<Looked>>,
    /// TSIG keys with their secrets.
    pub keys: Vec<Key>,
    /// What `check` shows though it stops nothing, a line each.
    pub warnings: Vec<String>,
}

/// A zone as it was when it was loaded.
pub struct LoadedZone {
    pub config: config::Zone,
    /// What its files hold, where exports edit them.
    pub exported: Option<Arc<Parsed>>,
    /// The files that it includes.
    pub included: Vec<PathBuf>,
    pub records: usize,
    pub failover_records: usize,
    /// What its parent must hold, where we answer for the whole zone.
    pub delegation: Vec<String>,
    pub followers: Vec<Followers>,
}

/// What the files of a zone held when they were read; compared by content, since an edit may keep
/// the time of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The zone's own file.
    pub zone: Arc<Vec<u8>>,
    /// Those that it includes.
    pub included: Vec<Included>,
}

/// Reads everything that `config` names. The failure has a line for each thing that is wrong.
pub fn load(config: &Config) -> Result<Loaded, Failure> {
    load_with(config, certificate(config)?)
}

/// The same with a certificate that was read already.
pub fn load_with(config: &Config, certificate: Option<Arc<CertifiedKey>>) -> Result<Loaded, Failure> {
    load_telling(config, certificate, &|_| {})
}

/// The same; `tell` hears how many zones are read.
pub fn load_telling(
    config: &Config,
    certificate: Option<Arc<CertifiedKey>>,
    tell: &dyn Fn(u64),
) -> Result<Loaded, Failure> {
    let mut lines = Vec::new();
    let mut loaded = Loaded {
        settings: Settings {
            pools: config.pools.clone(),
            checks: config.checks.clone(),
            zones: Vec::new(),
            cert_days: config.cert_days,
        },
        catalog: no_zones(),
        policy: Arc::default(),
        certificate,
        zones: Vec::new(),
        served: Vec::new(),
        targets: HashMap::new(),
        keys: Vec::new(),
        warnings: Vec::new(),
    };
    match transfers::read_keys(config) {
        Ok(keys) => loaded.keys = keys,
        Err(errors) => lines.extend(errors),
    }
    match policy(&config.dns) {
        Ok(policy) => loaded.policy = Arc::new(policy),
        Err(line) => lines.push(line),
    }
    let mut tables = Vec::new();
    let mut names = vec![BTreeSet::new(); config.pools.len()];
    let wants_names = config.checks.iter().any(targets::asks_for_names);
    let catalog = config.catalog.as_ref().map(|catalog| catalog_zone(config, catalog));
    for (done, zone) in (0..).zip(config.zones.iter().chain(&catalog)) {
        tell(done);
        match parse(zone, &config.pools).and_then(|parsed| one(zone, parsed, &config.pools, wants_names)) {
            Ok(one) => {
                if let Some(table) = one.table {
                    loaded.served.push(loaded.zones.len());
                    tables.push(Arc::new(table));
                }
                loaded.warnings.extend(one.warnings);
                for (pool, name) in one.names {
                    names[pool].insert(name);
                }
                loaded.zones.push(one.zone);
                loaded.settings.zones.push(one.settings);
            }
            Err(errors) => lines.extend(errors),
        }
    }
    if !lines.is_empty() {
        return Err(Failure::new(Exit::Usage, lines));
    }
    targets::give_places(&mut loaded.settings);
    loaded.targets = targets::targets(&loaded.settings, &names);
    loaded.warnings.extend(targets::remarks(&loaded.settings, &loaded.targets));
    loaded.catalog = Arc::new(Catalog::new(tables).map_err(|error| Failure::usage(error.to_string()))?);
    Ok(loaded)
}

/// How much was loaded, in words.
pub fn size(loaded: &Loaded) -> String {
    format!("{}, {}", count_of(loaded.zones.len(), "zone"), count_of(loaded.settings.pools.len(), "pool"))
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
    let rotate_addresses = dns.rotate_addresses;
    Ok(Policy { nsid: boxed(&dns.nsid), version, identity, cookies, rotate_addresses })
}

/// What the encrypted transports show, if there are any.
pub fn certificate(config: &Config) -> Result<Option<Arc<CertifiedKey>>, Failure> {
    let read = config.tls.as_ref().map(certified).transpose();
    read.map(|read| read.map(Arc::new)).map_err(Failure::usage)
}

/// Reads certificate and key; each reload does, which is how they are renewed.
fn certified(tls: &Tls) -> Result<CertifiedKey, String> {
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

/// Reads and parses the zone of a configuration, and finds the pools of its tags. The error holds a
/// line for each thing that is wrong, the other side a line for each warning.
pub fn parse(zone: &config::Zone, pools: &[Pool]) -> Result<Parsed, Vec<String>> {
    let file = file_name(zone);
    let read = match &zone.text {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => read_file(&zone.file, DOCUMENT_MAX),
    };
    let bytes = read.map_err(|error| {
        vec![format!(
            "{file}: error: cannot read the file of zone {}: {error}; mend the path or its permissions",
            zone.origin
        )]
    })?;
    let (parsed, found) = bind(zone, pools, read_bytes(zone, bytes)?);
    if found.iter().any(Diagnostic::is_error) {
        return Err(errors_of(&found));
    }
    let link = if zone.text.is_none() { link_remark(&zone.file) } else { None };
    let link = link.map(|remark| format!("{file}: warning: {remark}"));
    let told = parsed.zone.warnings().iter().chain(&found).map(ToString::to_string);
    let warnings = link.into_iter().chain(told).collect();
    Ok(Parsed { warnings, ..parsed })
}

/// A text that was read already, with the files that it includes. The error as with [`parse`].
pub fn read_bytes(zone: &config::Zone, bytes: Vec<u8>) -> Result<Zone, Vec<String>> {
    let mut source = FileSource::new(&zone.include_dir, &zone.file);
    Zone::load(&zone.origin, &file_name(zone), bytes, &mut source).map_err(|found| {
        let mut lines = errors_of(&found);
        if let Some(first) = lines.first_mut().filter(|_| zone.by_file_name) {
            // Whoever meant another zone looks for a mistake in the wrong place.
            *first += &format!(" (the origin {} is from the file's name; another one is told by $ORIGIN)", zone.origin);
        }
        lines
    })
}

/// Finds the pools of a zone's tags, and what is to be said about them.
pub fn bind(zone: &config::Zone, pools: &[Pool], parsed: Zone) -> (Parsed, Vec<Diagnostic>) {
    let (binding, found) = Binding::new(&parsed, zone.pool, pools);
    let held = Held { zone: Arc::clone(parsed.document().text()), included: parsed.document().included() };
    (Parsed { zone: parsed, binding, held, warnings: Vec::new(), skeleton: OnceLock::new() }, found)
}

/// The zone's text as messages name it. A line of a declared zone is none of the configuration.
pub fn file_name(zone: &config::Zone) -> String {
    match zone.text {
        Some(_) => format!("{} [zone.\"{}\"] made", zone.file.display(), zone.origin),
        None => zone.file.display().to_string(),
    }
}

/// A zone's text, what it means, and what is to be said about it.
pub struct Parsed {
    pub zone: Zone,
    pub binding: Binding,
    pub held: Held,
    pub warnings: Vec<String>,
    /// See [`Parsed::skeleton`].
    skeleton: OnceLock<Option<Skeleton>>,
}

impl Parsed {
    /// With a skeleton that is known already.
    pub fn with_skeleton(self, skeleton: Option<Skeleton>) -> Parsed {
        Parsed { skeleton: skeleton.into(), ..self }
    }

    /// What an export leaves alone, reckoned once: the first who asks waits.
    pub fn skeleton(&self) -> Option<Skeleton> {
        *self.skeleton.get_or_init(|| Skeleton::of(&self.zone))
    }
}

struct One {
    zone: LoadedZone,
    /// Names that follow the primary, with their pool; none where no check asks for them.
    names: BTreeSet<(usize, String)>,
    settings: ZoneSettings,
    table: Option<ZoneTable>,
    warnings: Vec<String>,
}

fn one(config: &config::Zone, parsed: Parsed, pools: &[Pool], wants_names: bool) -> Result<One, Vec<String>> {
    let Parsed { zone, binding, warnings, .. } = &parsed;
    let mut fingerprint =
        config.transfer.as_ref().map(|_| Fingerprint::new(binding.pools().iter().map(|pool| &pools[*pool])));
    let mut compile = |mode| compile(zone, binding, pools, mode, fingerprint.as_mut()).map_err(|line| vec![line]);
    let table = match config.serve {
        Serve::Off => None,
        Serve::Overlay => Some(compile(Mode::Overlay)?),
        Serve::Zone => Some(compile(Mode::Whole)?),
    };
    let content = fingerprint.map(Fingerprint::finish);
    let table = table.map(|table| table.with_content(content));
    table.iter().flat_map(ZoneTable::memory).for_each(pages::prefer_large);
    let names = if wants_names { primary_names(zone, binding) } else { BTreeSet::new() };
    let failover_records = zone.failover_count();
    let is_signed = zone.document().entries().iter().any(|entry| entry.rtype() == Rtype::RRSIG);
    // Where we serve it, compile() has said so; an export would break the signatures all the same.
    if is_signed && failover_records > 0 && config.export_file.is_some() {
        let (file, origin) = (config.file.display(), &config.origin);
        return Err(vec![format!("{file}: error: zone {origin}: {}", Problem::SignedFailover)]);
    }
    if config.export_file.is_some() {
        let obstacles = export::obstacles(zone, binding, pools);
        if !obstacles.is_empty() {
            return Err(errors_of(&obstacles));
        }
    }
    let settings = ZoneSettings {
        origin: config.origin.clone(),
        pools: binding.pools().to_vec(),
        scheme: config.serial,
        serial_in_file: zone.serial(),
        roles_in_file: match config.text {
            // It tells of no roles: its addresses are made up.
            Some(_) => vec![Some(PoolToldRoles::default()); binding.pools().len()],
            None => binding.roles_in_file(pools),
        },
        export: config.export_file.is_some(),
        content,
        is_signed,
    };
    let records = zone.records().len();
    let delegation = if is_delegated(config) { parent::records(zone) } else { Vec::new() };
    let (followers, warnings) = (followers(zone, binding), warnings.clone());
    let included = parsed.held.included.iter().map(|file| PathBuf::from(&file.file)).collect();
    let exported = config.export_file.is_some().then(|| Arc::new(parsed));
    let zone =
        LoadedZone { config: config.clone(), exported, included, records, failover_records, delegation, followers };
    Ok(One { zone, names, settings, table, warnings })
}

/// Whether a parent delegates the zone to us. Where secondaries take it, its name servers are they;
/// but for one that we declare ourselves, with us as the name server. The catalog has no parent, and no
/// pool.
fn is_delegated(zone: &config::Zone) -> bool {
    let declared = zone.text.is_some() && zone.pool.is_some();
    zone.serve == Serve::Zone && (zone.transfer.is_none() || declared)
}

fn primary_names(zone: &Zone, binding: &Binding) -> BTreeSet<(usize, String)> {
    let names = zone.failover_records().filter_map(|found| {
        let slot = binding.slot(found.tag.as_ref()?).filter(|slot| slot.role == Role::Primary)?;
        Some((slot.pool, found.record.owner.to_string().trim_end_matches('.').to_owned()))
    });
    names.collect()
}

/// The catalog as a zone.
fn catalog_zone(config: &Config, catalog: &config::Catalog) -> config::Zone {
    let members = config.zones.iter().filter(|zone| zone.transfer.is_some()).map(|zone| &zone.origin);
    config::Zone {
        origin: catalog.origin.clone(),
        by_file_name: false,
        file: config.file.clone(),
        text: Some(transfers::catalog_text(members).into()),
        include_dir: config.file.parent().map(Path::to_owned).unwrap_or_default(),
        pool: None,
        serve: if config.listen.is_empty() { Serve::Off } else { Serve::Zone },
        export_file: None,
        serial: SerialScheme::default(),
        transfer: Some(catalog.transfer.clone()),
    }
}

fn compile(
    zone: &Zone,
    binding: &Binding,
    pools: &[Pool],
    mode: Mode,
    mut fingerprint: Option<&mut Fingerprint>,
) -> Result<ZoneTable, String> {
    let named = |error: CompileError| format!("{}: error: zone {}: {error}", zone.file(), zone.origin());
    let mut compiler = Compiler::new(zone.origin(), pools, mode);
    let mut cursor = zone.cursor();
    while let Some(seen) = cursor.next_record() {
        let slot = seen.tag.as_ref().and_then(|tag| binding.slot(tag));
        if let Some(fingerprint) = &mut fingerprint {
            fingerprint.add(seen.record, slot);
        }
        compiler.add(seen.record, slot).map_err(named)?;
    }
    compiler.finish().map_err(named)
}

fn errors_of(found: &[Diagnostic]) -> Vec<String> {
    found.iter().filter(|one| one.severity == Severity::Error).map(ToString::to_string).collect()
}
