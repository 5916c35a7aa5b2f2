//! What the directory in a file promises besides: restarts, versions, crashes, full disks.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

/// What a directory with one of everything looked like when version 1 was new. Never changes.
const V1: &[u8] = include_bytes!("../../../tests/data/directory/v1.json");

#[tokio::test]
async fn what_was_changed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let directory = open(folder.path());
    directory.change(everything()).await.unwrap();
    directory.change(connected()).await.unwrap();
    directory.change(passed_on()).await.unwrap();
    let again = open(folder.path());
    assert!(directory.snapshot().contents() == again.snapshot().contents());
    let mode = std::fs::metadata(folder.path().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn no_secret_is_readable_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).change(everything()).await.unwrap();
    open(folder.path()).change(connected()).await.unwrap();
    open(folder.path()).change(passed_on()).await.unwrap();
    let written = std::fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
    for secret in [
        "a-secret-of-a-key",
        "a-secret-of-a-session",
        "token-one",
        "app-old",
        "verify-cams-one",
        "receipts-secret-of-cams-one",
        "isv-code",
        "an-access-token",
        "token=",
        "a-receipts-key",
        "a-webhooks-key",
    ] {
        assert!(!written.contains(secret), "{secret}");
    }
    assert!(!format!("{:?}", open(folder.path()).snapshot().contents()).contains("a-secret"));
}

#[test]
fn version_1_is_read_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), V1).unwrap();
    let expected = MemoryDirectory::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(expected.change(everything())).unwrap();
    let read = open(folder.path());
    assert!(read.snapshot().contents() == expected.snapshot().contents());
}

#[test]
fn what_cannot_be_read_is_refused_and_says_why() {
    let v1 = std::str::from_utf8(V1).unwrap();
    let newer = v1.replacen("\"version\": 1", "\"version\": 2", 1);
    let unknown = v1.replacen("\"version\": 1", "\"version\": 1, \"colour\": 1", 1);
    let dangling = v1.replacen("\"account\": \"1234567890123456\"", "\"account\": \"9\"", 1);
    let first = v1.find("\"secret\": \"").unwrap() + 11;
    let mut swapped = v1.to_owned();
    let tampered = if swapped.as_bytes()[first + 40] == b'A' { "B" } else { "A" };
    swapped.replace_range(first + 40..first + 41, tampered);
    for (bytes, why) in [
        (newer.as_str(), "use a newer twoticks"),
        (&unknown, "colour"),
        (&dangling, "account"),
        (&swapped, "key file"),
        ("", "EOF"),
        (v1.split_at(v1.len() / 2).0, "EOF"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), bytes).unwrap();
        let refused = FileDirectory::open(folder.path(), keys()).err().unwrap().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), V1).unwrap();
    let other = Arc::new(Keys::from_bytes([8; 32]));
    let refused = FileDirectory::open(folder.path(), other).err().unwrap();
    assert!(refused.to_string().contains("key file"), "{refused}");
}

#[tokio::test]
async fn what_a_crash_left_behind_is_no_hindrance() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("directory.json.new"), "{\"half").unwrap();
    let directory = open(folder.path());
    directory.change(everything()).await.unwrap();
    assert!(!folder.path().join("directory.json.new").exists());
    assert_eq!(open(folder.path()).snapshot().accounts().count(), 2);
}

/// Set for the child of the next test: the folder to fill.
const CHILD: &str = "TWOTICKS_DIRECTORY_WITHOUT_ROOM";

#[test]
fn a_full_disk_leaves_the_old_directory() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return run_out_of_room(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let this = concat!(module_path!(), "::a_full_disk_leaves_the_old_directory");
    let this = this.split_once("::").unwrap().1;
    // The shell lets files grow to 8 KiB and has the rest fail instead of ending the child.
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"";
    let child = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let kept = open(folder.path());
    assert_eq!(kept.snapshot().accounts().count(), 1);
    assert!(!folder.path().join("directory.json.new").exists());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(kept.change(vec![Change::AddAccount(account(OTHER))])).unwrap();
}

fn run_out_of_room(folder: &Path) {
    let directory = open(folder);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(directory.change(vec![Change::AddAccount(account(UID))])).unwrap();
    let document: Arc<str> = "x".repeat(POLICY_BYTES_MAX).into();
    let large = ["one", "two"]
        .map(|called| Change::AddPolicy(Policy { document: document.clone(), ..policy(called) }))
        .to_vec();
    let refused = runtime.block_on(directory.change(large)).unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
    assert_eq!(directory.snapshot().policies_of(&uid(UID)).count(), 0);
    assert_eq!(directory.snapshot().accounts().count(), 1);
}
