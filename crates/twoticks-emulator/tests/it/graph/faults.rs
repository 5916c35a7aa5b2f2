//! Bad days, ordered.

use super::*;

#[tokio::test]
async fn what_goes_wrong_is_ordered_by_its_word() {
    let mut calling = Calling::start().await;
    let send = "/v24.0/id-1/messages";
    let promo = message("62811000001", PROMO);
    let sends = |calling: &Calling| calling.emulated.whatsapp.sends(&|_| true, 100).len();
    for (word, status, code) in [
        ("error-in-200", 200, 131_000),
        ("500", 500, 2),
        ("80007", 400, 80_007),
        ("130429", 400, 130_429),
        ("131056", 400, 131_056),
    ] {
        let order = json!({"fault": word, "times": 2, "edge": "messages"}).to_string();
        calling.emulated.post("graph", &order).await;
        calling.get("/v24.0/id-1").await;
        for _ in 0..2 {
            let (found, found_code, ..) = calling.refused("POST", send, &promo).await;
            assert_eq!((found, found_code), (status, code), "{word}");
        }
        let before = sends(&calling);
        calling.post(send, &promo).await;
        assert_eq!(sends(&calling), before + 1, "{word}: only what was answered was sent");
    }
    assert_eq!(sends(&calling), 5);
    // It is sent, and nobody hears of it.
    calling.emulated.post("graph?fault=timeout&channel=cams-bank", "").await;
    calling.emulated.post("graph?fault=timeout", "").await;
    let hung_up = calling.raw("POST", send, &promo).await;
    assert!(matches!(hung_up, Err(NoAnswer::Unreadable { .. })), "{hung_up:?}");
    assert_eq!(sends(&calling), 6);
    calling.post(send, &promo).await;
    let wanted = calling.emulated.get("graph").await;
    assert_eq!(wanted["faults"]["orders"][0]["channel"], "cams-bank");
    let cleared = calling.emulated.post("graph", r#"{"faults": []}"#).await;
    assert_eq!(cleared["faults"]["orders"], json!([]));
    // A token is bad until the faults are cleared, and nobody else's is.
    calling.emulated.post("graph?fault=190&edge=node", "").await;
    calling.post(send, &promo).await;
    for _ in 0..2 {
        let (status, code, subcode, _) =
            calling.refused("GET", &format!("/{SHOP}"), &Value::Null).await;
        assert_eq!((status, code, subcode), (401, 190, 460));
    }
    let bank = format!("Bearer {}", calling.token("cams-bank"));
    let headers = [("authorization", bank.as_str())];
    let answered = calling.with("GET", &format!("/{BANK}"), &Value::Null, &headers).await.unwrap();
    assert_eq!(answered.status, 200);
    let target = format!("/debug_token?input_token={}", calling.token("cams-shop"));
    let answered = calling.with("GET", &target, &Value::Null, &headers).await.unwrap();
    let told: Value = serde_json::from_slice(&answered.body).unwrap();
    assert_eq!(told["data"]["is_valid"], false);
    calling.emulated.post("graph?faults=none", "").await;
    calling.get(&format!("/{SHOP}")).await;
    calling.stop().await;
}

#[tokio::test]
async fn a_slow_answer_is_held_until_the_faults_are_cleared() {
    let mut calling = Calling::start().await;
    calling.emulated.post("graph?fault=slow&times=2", "").await;
    let address = calling.emulated.lane.address();
    let asked = Asked {
        method: "GET".parse().unwrap(),
        target: format!("/{SHOP}?access_token={}", calling.token("cams-shop")),
        headers: Vec::new(),
        body: Vec::new().into(),
    };
    let held = async {
        let mut lane = Lane::new(address);
        lane.ask(&asked).await.unwrap().status.as_u16()
    };
    let clearing = async {
        while calling.emulated.get("graph").await["faults"]["held"] != 1 {
            tokio::task::yield_now().await;
        }
        calling.emulated.post("graph", r#"{"faults": []}"#).await
    };
    let (status, cleared) = tokio::join!(held, clearing);
    assert_eq!(status, 200);
    assert_eq!(cleared["faults"]["orders"], json!([]));
    calling.stop().await;
}

#[tokio::test]
async fn faults_that_cannot_be_ordered_are_refused() {
    let mut calling = Calling::start().await;
    for (target, part) in [
        ("graph", "`fault` is missing"),
        ("graph?fault=fire", "`error-in-200`"),
        ("graph?fault=500&times=0", "1 to 1000000"),
        ("graph?fault=500&faults=none", "leave one out"),
        ("graph?faults=500", "empty list"),
        ("graph?fault=500&channel=cams-none", "`cams-none`"),
    ] {
        let (_, why) = calling.emulated.refused(target, "").await;
        assert!(why.contains(part), "{target}: {why}");
    }
    let (status, _) = calling.emulated.ask("GET", "graph?fault=500", "").await;
    assert_eq!(status, 400);
    for _ in 0..100 {
        calling.emulated.post("graph?fault=500", "").await;
    }
    let (status, _) = calling.emulated.refused("graph?fault=500", "").await;
    assert_eq!(status, 409);
    calling.emulated.post("reset", "").await;
    let told = calling.emulated.get("graph").await;
    assert_eq!(told["faults"]["orders"], json!([]), "a reset clears them too");
    assert_eq!(told["url"], format!("http://{}", calling.emulated.lane.host()));
    assert_eq!(told["help"].as_object().unwrap().len(), 8);
    calling.stop().await;
}
