//! Zone files that nobody wrote by hand: huge lines, a million parentheses, files that include
//! themselves, folders and devices. One clear diagnostic, in bounded time and memory.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nsd_failover::config::zones::{FileSource, read_file};
use nsd_failover::zone::Zone;
use nsd_failover::zone::diagnostic::{DIAGNOSTICS_MAX, Diagnostic};
use nsd_failover::zone::source::{Included, NoSource, Source};

/// Far more than it takes without optimisation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const HEAD: &str = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns.example.net.\n";

/// What is said about a zone of this text, whose files lie in `folder`.
fn said(folder: &Path, text: Vec<u8>) -> Vec<Diagnostic> {
    let began = Instant::now();
    let own = folder.join("zone");
    let mut source = FileSource::new(folder, &own);
    let parsed = Zone::load(&"example.org".parse().unwrap(), &own.display().to_string(), text, &mut source);
    let list = parsed.map_or_else(|list| list, |zone| zone.warnings().to_vec());
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert!(list.len() <= 2 * DIAGNOSTICS_MAX + 1);
    for found in &list {
        assert!(found.to_string().len() < 1_000 && found.rendered().len() < 2_000, "{found}");
    }
    list
}

#[test]
fn monsters() {
    let folder = tempfile::tempdir().unwrap();
    let mb = 1 << 20;
    for (start, piece, count, part) in [
        ("a TXT ", "x", 100 * mb, "longer than 255 octets"),
        ("", "x", 100 * mb, "is no domain name"),
        ("a TXT \"", "x\n", mb, "the quote that opens here is never closed"),
        ("a TXT ", "x ", 5 * mb, "record with more than 65,552 fields"),
        ("a TXT ", "(", mb, "parenthesis inside parentheses"),
        ("a TXT x ", ")", mb, "closing parenthesis without an opening one"),
        ("a TXT ", "\"x\"", mb, "record with more than 65,552 fields"),
        ("a TXT ", "\\", 8 * mb + 1, "longer than 255 octets"),
        ("", "\0", mb, "is no domain name"),
        ("", "a FOO\n", mb, "`FOO` is no record type"),
        // Each name server is looked for among all records of its name.
        ("", "x NS x\n", 100_000, "the same record again"),
        ("", "$INCLUDE /dev/null\n", 50_000, "it is not a regular file"),
        ("", "$GENERATE 1-1000000 $ A 192.0.2.1\n", 100, "makes the zone too large"),
        ("", "$GENERATE 1-2000 a$ TXT \"${0,60000}\"\n", 1, "makes the zone too large"),
        ("a A 192.0.2.1 ; Enable failover role=", "x", 2 * mb, "unknown role `xxx"),
        ("a A 192.0.2.1 ; Enable failover ", "x=1", mb, "unknown key `x"),
        ("$INCLUDE ", "x", 2 * mb, "no file has a name of more than 4096 octets"),
        ("$INCLUDE ", "x/", 2_000, "No such file"),
        (";nsd-failover:withdrawn ", "x", 2 * mb, "withdrawn line that holds no failover record"),
        ("$ORIGIN ", "x", 2 * mb, "is no absolute name"),
    ] {
        let list = said(folder.path(), [HEAD.as_bytes(), start.as_bytes(), &piece.repeat(count).into_bytes()].concat());
        assert!(list.iter().any(|found| found.message.contains(part)), "{start}{piece}: {:?}", list.first());
    }
}

/// A few lines that stand for very many: the text that they bring is bounded.
#[test]
fn a_file_that_is_included_over_and_over() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("inc"), "; x\n".repeat(1 << 18)).unwrap();
    let list = said(folder.path(), [HEAD.as_bytes(), &b"$INCLUDE inc\n".repeat(100)].concat());
    let first = list.iter().find(|found| found.is_error()).unwrap();
    // Once for itself, 64 times again.
    assert_eq!((first.line, first.column), (3 + 1 + 64 + 1, 10), "{first}");
    assert!(first.message.ends_with("more than 64 MiB of text are generated or included again"), "{first}");
}

/// A file that is refused is not read for each line that names it.
#[test]
fn what_is_refused_costs_nothing() {
    struct Counted {
        file: &'static str,
        bytes: Arc<Vec<u8>>,
        reads: usize,
    }
    impl Source for Counted {
        fn read(&mut self, _: &str, _: usize) -> Result<Included, String> {
            self.reads += 1;
            Ok(Included { file: self.file.to_owned(), bytes: Arc::clone(&self.bytes), remark: None })
        }
    }
    let origin = "example.org".parse().unwrap();
    // Once for itself, once again, once too often; `z` is the zone's own.
    for (file, enough) in [("inc", 3), ("z", 2)] {
        let mut source = Counted { file, bytes: Arc::new(vec![b'\n'; 40 << 20]), reads: 0 };
        let text = [HEAD.as_bytes(), &b"$INCLUDE inc\n".repeat(1_000)].concat();
        assert!(Zone::load(&origin, "z", text, &mut source).is_err());
        assert_eq!(source.reads, enough, "{file}");
    }
    // What cannot be had is asked for so often and no more.
    let mut source = Counted { file: "z", bytes: Arc::default(), reads: 0 };
    let text = [HEAD.as_bytes(), &b"$INCLUDE z\n".repeat(20_000)].concat();
    assert!(Zone::load(&origin, "z", text, &mut source).is_err());
    assert_eq!(source.reads, 10_000);
    // Nor is made again what was too much.
    let text = [HEAD.as_bytes(), &b"$GENERATE 1-1200 a$ TXT \"${0,60000}\"\n".repeat(50)].concat();
    let wrong = Zone::load(&origin, "z", text, &mut NoSource).unwrap_err();
    assert_eq!(wrong.iter().filter(|found| found.message.contains("makes the zone too large")).count(), 1);
}

/// What is generated and what is included again count together, and are told together.
#[test]
fn generated_and_included_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("inc"), format!("; {}\n", "x".repeat(40 << 20))).unwrap();
    let generate = "$GENERATE 1-600 a$ TXT \"${0,60000}\"\n";
    let list = said(folder.path(), [HEAD, generate, &"$INCLUDE inc\n".repeat(2)].concat().into_bytes());
    let wrong = list.iter().find(|found| found.is_error() && found.message.contains("64 MiB")).unwrap();
    assert!(wrong.message.ends_with("more than 64 MiB of text are generated or included again"), "{wrong}");
}

#[test]
fn files_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let own = format!("{HEAD}$INCLUDE zone\n");
    fs::write(at("zone"), &own).unwrap();
    fs::write(at("ring"), "$INCLUDE ring2\n").unwrap();
    fs::write(at("ring2"), "$INCLUDE ring\n").unwrap();
    fs::create_dir(at("folder")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
    std::os::unix::fs::symlink("loop", at("loop")).unwrap();
    for (name, part) in [
        ("zone", "it includes itself"),
        ("ring", "it includes itself"),
        ("folder", "it is not a regular file"),
        ("/dev/zero", "it is not a regular file"),
        ("dangling", "No such file"),
        ("loop", "symbolic links"),
        ("../../../../etc/shadow/x", "cannot include"),
    ] {
        let list = said(folder.path(), format!("{HEAD}$INCLUDE {name}\n").into_bytes());
        assert!(list.iter().any(|found| found.is_error() && found.message.contains(part)), "{name}: {list:?}");
    }
    // The file itself is known by its own name.
    let list = said(folder.path(), own.into_bytes());
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!((list[0].file.as_str(), list[0].line), (at("zone").to_str().unwrap(), 4));
}

#[test]
fn a_pipe_does_not_block() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let list = said(folder.path(), format!("{HEAD}$INCLUDE pipe\n").into_bytes());
    assert!(list[0].message.contains("it is not a regular file"), "{list:?}");
}

/// Somebody cuts the file while it is read, and writes it anew: it is read whole or refused, never
/// by halves.
#[test]
fn a_file_that_shrinks_while_it_is_read() {
    const WHOLE: u64 = 8 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zone");
    fs::write(&path, vec![b'\n'; WHOLE as usize]).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (file, stop) = (fs::File::options().write(true).open(&path).unwrap(), Arc::clone(&done));
    let editor = thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for length in [1, WHOLE] {
                file.set_len(length).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let began = Instant::now();
    let mut refused = 0;
    while refused < 3 {
        assert!(began.elapsed() < PATIENCE, "never read while it shrank");
        match read_file(&path, 1 << 30) {
            Ok(bytes) => assert!([1, WHOLE].contains(&(bytes.len() as u64)), "{} octets", bytes.len()),
            Err(error) => {
                assert_eq!(error.to_string(), "it changed while it was read; try again");
                refused += 1;
            }
        }
    }
    done.store(true, Ordering::Relaxed);
    editor.join().unwrap();
}
