//! Programs that say when they are ready: stopped as soon as they said so, started again.

use serde_json::Value;

use super::{Place, Running, read_line};

#[test]
fn a_server_that_says_it_is_ready_stops_in_order_from_then_on() {
    let place = Place::set_up();
    // Who does not listen to signals yet is ended by most of them.
    for _ in 0..5 {
        for command in [&["serve"][..], &["emulate", "--memory"]] {
            let args = [command, &["--listen", "127.0.0.1:0", "--json"]].concat();
            let mut server = place.start(&args);
            let ready = read_line(&mut server.out());
            assert!(ready.contains("\"endpoint\""), "{ready}");
            assert_eq!(server.stop(), 0, "{command:?}");
        }
    }
}

#[test]
fn an_emulator_is_gone_on_with_whatever_accounts_keys_have_made() {
    let place = Place::new();
    let command = ["emulate", "--any-key", "--listen", "127.0.0.1:0", "--json"];
    let begun = |server: &mut Running| -> Value {
        serde_json::from_str(&read_line(&mut server.out())).unwrap()
    };
    let post = |ready: &Value, target: &str| {
        let address = ready["endpoint"].as_str().unwrap().trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let body = r#"{"templates": [{"code": "a", "language": "en", "category": "utility"}]}"#;
        let head = format!("POST {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        let length = format!("content-length: {}\r\n\r\n", body.len());
        std::io::Write::write_all(&mut stream, (head + &length + body).as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str::<Value>(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    };
    let mut server = place.start(&command);
    let first = begun(&mut server);
    // Some of their uids come before that of the account that was there from the start.
    for key in 0..12 {
        post(&first, &format!("/_twoticks/fixtures?key=test-{key}"));
    }
    assert_eq!(post(&first, "/_twoticks/fixtures")["channel"], first["channel"]);
    assert_eq!(server.stop(), 0);
    let mut server = place.start(&command);
    let second = begun(&mut server);
    for kept in ["admin", "channel", "app_secret"] {
        assert_eq!(second[kept], first[kept], "{kept}");
    }
    assert_eq!(post(&second, "/_twoticks/fixtures?key=test-1")["templates"][0]["code"], "a");
    assert_eq!(server.stop(), 0);
}
