//! A disk that does not confirm a write, once: a library that is loaded before the C library says so.

use std::io::{Read as _, Write as _};
use std::path::Path;

use serde_json::Value;

use super::{Place, import_lines, read_line};

/// `fdatasync` fails while there is a file `fail` in the folder of the process, which it removes.
const SHIM: &str = r#"
#include <errno.h>
#include <unistd.h>
#include <sys/syscall.h>
int fdatasync(int file) {
    if (unlink("fail") == 0) { errno = EIO; return -1; }
    return (int) syscall(SYS_fdatasync, file);
}
"#;

/// Makes the library; whether there is what it takes.
fn made(place: &Place) -> bool {
    let source = place.write("shim.c", SHIM);
    let library = place.path().join("shim.so");
    let mut compiler = std::process::Command::new("cc");
    let status = compiler.args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    cfg!(target_os = "linux") && status.is_ok_and(|status| status.success())
}

/// Has lines imported by a running server, one file after the other.
fn import(place: &Place, name: &str, lines: &str) -> i32 {
    let file = place.write(name, lines);
    place.run(&["import", file.to_str().unwrap()]).code
}

fn is_alive(endpoint: &str) -> bool {
    let address = endpoint.trim_start_matches("http://");
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    let asked =
        format!("GET /health/live HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(asked.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

#[test]
fn a_server_whose_disk_fails_begins_anew_and_has_all_that_was_acknowledged() {
    let place = Place::set_up();
    if !made(&place) {
        eprintln!("SKIPPED: there is no `cc`, or this is not Linux");
        return;
    }
    let args = ["serve", "--listen", "127.0.0.1:0", "--json"];
    let mut server = place.start_with(&args, &[("LD_PRELOAD", Path::new("./shim.so"))]);
    let mut out = server.out();
    let endpoint = |line: &str| -> String {
        let ready: Value = serde_json::from_str(line).unwrap();
        ready["endpoint"].as_str().unwrap().to_owned()
    };
    let first = endpoint(&read_line(&mut out));
    assert!(is_alive(&first));
    assert_eq!(import(&place, "a.ndjson", &import_lines()), 0);
    place.write("fail", "");
    let refused = import(&place, "b.ndjson", &import_lines().replace("wamid.A", "wamid.B"));
    assert_ne!(refused, 0);
    assert!(!place.path().join("fail").exists());
    // The same process, ready once more.
    let second = endpoint(&read_line(&mut out));
    assert!(is_alive(&second));
    assert_eq!(import(&place, "b.ndjson", &import_lines().replace("wamid.A", "wamid.B")), 0);
    assert_eq!(place.ask(&["verify"])["equal"], true);
    assert_eq!(server.stop(), 0);
}
