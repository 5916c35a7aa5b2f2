//! Templates whose header is a medium: it is fetched where the caller says, from the internet only,
//! and uploaded before the template is handed in.

use twoticks_server::outside::guard::Networks;

use super::*;

const PDF: &str = "%PDF-1.7 a document";

/// A server that is connected and may fetch from this machine, and what it talks to.
async fn with_media() -> (Server, Double) {
    let (server, double) = start_with(|settings| {
        settings.outside.networks = Networks::try_from("127.0.0.0/8".to_owned()).unwrap();
    })
    .await;
    answer_connect(&double);
    execute(&server.app, connect(TOKEN)).await.unwrap();
    double.fix("POST /v24.0/4711/uploads", 200, &json!({"id": "upload:abc?sig=xyz"}));
    double.fix("POST /v24.0/upload:abc?sig=xyz ", 200, &json!({"h": "4::handle"}));
    let made = json!({"id": "77", "status": "PENDING", "category": "MARKETING"});
    double.fix("POST /v24.0/3000/message_templates", 200, &made);
    double.fix("POST /v24.0/77", 200, &json!({"success": true}));
    (server, double)
}

impl Double {
    /// Has a medium at `path`.
    fn serve_medium(&self, path: &'static str, status: u16, body: &str) {
        let answer = Answer::Say(status, body.to_owned());
        self.script.lock().unwrap().fixed.insert(0, (path, answer));
    }
}

async fn ask(server: &Server, action: &str, format: &str, url: &str) -> Reply {
    let components = json!([
        {"Type": "HEADER", "Format": format, "Url": url}, {"Type": "BODY", "Text": "Hello"},
    ])
    .to_string();
    let params = [
        ("Name", "invoice"),
        ("TemplateName", "invoice"),
        ("Language", "en"),
        ("Category", "MARKETING"),
        ("TemplateType", "WHATSAPP"),
        ("Components", components.as_str()),
    ];
    server.call(Who::Root, action, &params).await
}

#[tokio::test]
async fn a_document_is_fetched_uploaded_and_handed_in() {
    let (server, double) = with_media().await;
    double.serve_medium("GET /invoice.pdf", 200, PDF);
    let url = format!("http://{}/invoice.pdf", double.address);
    for (action, path) in [
        ("CreateChatappTemplate", "POST /v24.0/3000/message_templates"),
        ("ModifyChatappTemplate", "POST /v24.0/77"),
    ] {
        let before = double.got().len();
        let reply = ask(&server, action, "DOCUMENT", &url).await;
        assert_eq!(reply.code(), "OK", "{action}: {}", reply.text());
        let got = double.got();
        let [fetched, begun, uploaded, made] = &got[before..] else { panic!("{got:?}") };
        assert!(fetched.line.starts_with("GET /invoice.pdf"), "{action}");
        assert_eq!(fetched.authorization, "", "nobody outside gets the token");
        for (name, value) in [("file_length", "19"), ("file_type", "application%2Fpdf")] {
            assert!(begun.line.contains(&format!("{name}={value}")), "{}", begun.line);
        }
        assert_eq!(begun.authorization, format!("Bearer {TOKEN}"));
        assert!(uploaded.line.starts_with("POST /v24.0/upload:abc?sig=xyz "));
        assert_eq!(uploaded.authorization, format!("OAuth {TOKEN}"));
        assert!(made.line.starts_with(path), "{}", made.line);
        let header = &made.body["components"][0];
        assert_eq!(header["example"], json!({"header_handle": ["4::handle"]}), "{action}");
    }
    let named = [("TemplateName", "invoice"), ("Language", "en")];
    let detail = server.call(Who::Root, "GetChatappTemplateDetail", &named).await.json();
    assert_eq!(detail["Data"]["Components"][0]["Url"], url.as_str(), "{detail}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_medium_is_refused_before_anything_is_handed_in() {
    let (server, double) = with_media().await;
    let edge = "x".repeat(5 << 20);
    double.serve_medium("GET /moved", 302, PDF);
    double.serve_medium("GET /missing", 404, PDF);
    double.serve_medium("GET /page", 200, "<html>");
    double.serve_medium("GET /edge", 200, &edge);
    double.serve_medium("GET /beyond", 200, &format!("{edge}x"));
    let before = double.got().len();
    for (format, path, said) in [
        ("DOCUMENT", "moved", "status 302"),
        ("DOCUMENT", "missing", "status 404"),
        ("DOCUMENT", "page", "is not a PDF"),
        ("VIDEO", "page", "is not an MP4"),
        ("IMAGE", "edge", "is not a JPEG or PNG"),
        ("IMAGE", "beyond", "more than 5242880 bytes"),
    ] {
        let url = format!("http://{}/{path}", double.address);
        let reply = ask(&server, "CreateChatappTemplate", format, &url).await;
        assert_eq!(reply.code(), "InvalidParameter.HeaderTypeNotSupport", "{path}");
        assert!(reply.text().contains(said), "{path}: {}", reply.text());
    }
    let got = double.got();
    assert!(got[before..].iter().all(|got| got.line.starts_with("GET /")), "{got:?}");
    assert!(!server.log.all().contains("/edge"), "an address was logged");
    server.stop().await;
}

#[tokio::test]
async fn nothing_inside_the_operators_network_is_asked() {
    let (server, double) = start().await;
    answer_connect(&double);
    execute(&server.app, connect(TOKEN)).await.unwrap();
    let before = double.got().len();
    let port = double.address.port();
    for url in [
        format!("http://127.0.0.1:{port}/a.pdf"),
        format!("http://localhost:{port}/a.pdf"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "https://10.0.0.1/a.pdf".to_owned(),
    ] {
        let reply = ask(&server, "CreateChatappTemplate", "DOCUMENT", &url).await;
        assert_eq!(reply.code(), "InvalidParameter.HeaderTypeNotSupport", "{url}");
        assert!(reply.text().contains("a network that is not public"), "{}", reply.text());
    }
    for url in ["ftp://example.com/a.pdf", "a.pdf", "file:///etc/passwd"] {
        let reply = ask(&server, "CreateChatappTemplate", "DOCUMENT", url).await;
        assert_eq!(reply.code(), "InvalidParameter.HeaderTypeNotSupport", "{url}");
    }
    assert_eq!(double.got().len(), before, "somebody was asked");
    server.stop().await;
}

#[tokio::test]
async fn without_its_app_a_connection_says_what_would_do() {
    let (server, double) = with_media().await;
    double.serve_medium("GET /invoice.pdf", 200, PDF);
    let snapshot = server.app.directory.snapshot();
    let known = snapshot.channel(&channel_id(CHANNEL)).unwrap().connection.clone().unwrap();
    let unknown = Connection { app_id: None, ..known };
    let change = Change::SetConnection(channel_id(CHANNEL), Some(unknown));
    server.app.directory.change(vec![change]).await.unwrap();
    let before = double.got().len();
    let url = format!("http://{}/invoice.pdf", double.address);
    let reply = ask(&server, "CreateChatappTemplate", "DOCUMENT", &url).await;
    assert_eq!(reply.code(), "InvalidParameter.CreateError");
    assert!(reply.text().contains("twoticks channel connect"), "{}", reply.text());
    assert_eq!(double.got().len(), before);
    server.stop().await;
}
