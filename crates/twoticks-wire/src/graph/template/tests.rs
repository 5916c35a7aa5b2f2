use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn graph_of(category: &str, components: &Value, example: &Value) -> Result<Graph, Unfit> {
    let components = components.as_array().unwrap();
    // Every medium is its own handle here.
    let handles: BTreeMap<_, _> =
        media(components).iter().map(|it| (it.url.to_owned(), it.url.to_owned())).collect();
    let example = example.as_object().unwrap();
    to_graph(&Request { category, components, example, handles: &handles })
}

fn marketing(components: &Value, example: &Value) -> Result<Graph, Unfit> {
    graph_of("MARKETING", components, example)
}

fn body(text: &str) -> Value {
    json!([{"Type": "BODY", "Text": text}])
}

fn with_buttons(buttons: &Value) -> Value {
    json!([{"Type": "BODY", "Text": "Hello"}, {"Type": "BUTTONS", "Buttons": buttons}])
}

#[test]
fn a_marketing_template_goes_there_and_back() {
    let components = json!([
        {"Type": "HEADER", "Format": "TEXT", "Text": "Our $(season) sale"},
        {"Type": "BODY", "Text": "Hi $(first_name), $(off) off, $(first_name)!"},
        {"Type": "FOOTER", "Text": "Until Sunday"},
        {"Type": "BUTTONS", "Buttons": [
            {"Type": "QUICK_REPLY", "Text": "No, thanks"},
            {"Type": "URL", "Text": "Shop", "UrlType": "dynamic",
             "Url": "https://r.example.com/$(button_1)"},
            {"Type": "PHONE_NUMBER", "Text": "Call us", "PhoneNumber": "15550100"},
            {"Type": "COPY_CODE", "CouponCode": "$(button_3)"},
            {"Type": "FLOW", "Text": "Ask", "FlowId": "88", "FlowAction": "NAVIGATE",
             "NavigateScreen": "FIRST"},
        ]},
    ]);
    let example = json!({
        "season": "spring", "first_name": "Ada", "off": "20%", "button_1": "x9", "button_3": "SPRING",
    });
    let graph = marketing(&components, &example).unwrap();
    assert_eq!(graph.format.word(), "NAMED");
    let expected = json!([
        {"type": "HEADER", "format": "TEXT", "text": "Our {{season}} sale",
         "example": {"header_text_named_params": [{"param_name": "season", "example": "spring"}]}},
        {"type": "BODY", "text": "Hi {{first_name}}, {{off}} off, {{first_name}}!",
         "example": {"body_text_named_params": [
            {"param_name": "first_name", "example": "Ada"},
            {"param_name": "off", "example": "20%"}]}},
        {"type": "FOOTER", "text": "Until Sunday"},
        {"type": "BUTTONS", "buttons": [
            {"type": "QUICK_REPLY", "text": "No, thanks"},
            {"type": "URL", "text": "Shop", "url": "https://r.example.com/{{1}}", "example": ["x9"]},
            {"type": "PHONE_NUMBER", "text": "Call us", "phone_number": "15550100"},
            {"type": "COPY_CODE", "example": "SPRING"},
            {"type": "FLOW", "text": "Ask", "flow_id": "88", "flow_action": "navigate",
             "navigate_screen": "FIRST"},
        ]},
    ]);
    assert_eq!(Value::Array(graph.components.clone()), expected);
    let cams = to_cams(&graph.components);
    assert_eq!(Value::Array(cams.components), components);
    assert_eq!(Value::Object(cams.example), example);
}

#[test]
fn numbered_variables_are_positional_in_each_text() {
    let components = json!([
        {"Type": "header", "Text": "For $(1)"},
        {"Type": "Body", "Text": "$(2), $(1)"},
    ]);
    let graph = marketing(&components, &json!({"1": "a", "2": 7})).unwrap();
    assert_eq!(graph.format, ParameterFormat::Positional);
    assert_eq!(graph.format.word(), "POSITIONAL");
    assert_eq!(graph.components[0]["example"], json!({"header_text": ["a"]}));
    assert_eq!(graph.components[1]["text"], "{{2}}, {{1}}");
    assert_eq!(graph.components[1]["example"], json!({"body_text": [["a", "7"]]}));
    let graph = marketing(&body("none"), &json!({})).unwrap();
    assert_eq!(graph.format, ParameterFormat::Positional);
    // Ten come after nine.
    let ten: String = (1..=10).rev().map(|at| format!("$({at})")).collect();
    let example = (1..=10).map(|at| (at.to_string(), json!(at.to_string()))).collect();
    let graph = marketing(&body(&ten), &Value::Object(example)).unwrap();
    assert_eq!(graph.components[0]["example"]["body_text"][0][9], "10");
}

#[test]
fn the_variable_of_a_link_keeps_its_name_on_our_side() {
    let buttons = json!([
        {"Type": "URL", "Text": "Go", "Url": "https://example.com/$(Promo Code)"},
        {"Type": "COPY_CODE", "CouponCode": "$(coupon)"},
        {"Type": "COPY_CODE", "CouponCode": "FIXED"},
    ]);
    let example = json!({"Promo Code": "x", "coupon": "C1"});
    let graph = marketing(&with_buttons(&buttons), &example).unwrap();
    let names: Vec<_> =
        graph.button_variables.iter().map(|it| (it.card, it.button, it.name.as_str())).collect();
    assert_eq!(names, [(None, 0, "Promo Code"), (None, 1, "coupon")]);
    assert_eq!(graph.components[1]["buttons"][2], json!({"type": "COPY_CODE", "example": "FIXED"}));
    let cams = to_cams(&graph.components);
    assert_eq!(cams.components[1]["Buttons"][0]["Url"], "https://example.com/$(button_0)");
    assert_eq!(cams.example["button_0"], "x");
}

#[test]
fn media_need_their_handles() {
    let url = "https://example.com/a.jpg";
    let components = json!([
        {"Type": "HEADER", "Format": "IMAGE", "Url": url}, {"Type": "BODY", "Text": "Hello"},
    ]);
    let list = components.as_array().unwrap();
    assert_eq!(media(list), [Medium { kind: MediumKind::Image, url }]);
    let mut handles = BTreeMap::new();
    let example = Map::new();
    let ask = |handles: &BTreeMap<String, String>| {
        to_graph(&Request { category: "UTILITY", components: list, example: &example, handles })
    };
    assert_eq!(ask(&handles), Err(Unfit::Medium(url.to_owned())));
    handles.insert(url.to_owned(), "4::abc".to_owned());
    let graph = ask(&handles).unwrap();
    let expected =
        json!({"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["4::abc"]}});
    assert_eq!(graph.components[0], expected);
}

#[test]
fn an_authentication_template_has_words_of_its_own() {
    let apps = json!([{"PackageName": "com.example.app", "SignatureHash": "K8a2"}]);
    let components = json!([
        {"Type": "BODY", "AddSecretRecommendation": true},
        {"Type": "FOOTER", "CodeExpirationMinutes": 10},
        {"Type": "BUTTONS", "Buttons": [
            {"Type": "ONE_TAP", "Text": "Copy", "AutofillText": "Fill in", "SupportedApps": apps},
        ]},
    ]);
    let graph = graph_of("authentication", &components, &json!({})).unwrap();
    let expected = json!([
        {"type": "BODY", "add_security_recommendation": true},
        {"type": "FOOTER", "code_expiration_minutes": 10},
        {"type": "BUTTONS", "buttons": [
            {"type": "OTP", "otp_type": "ONE_TAP", "text": "Copy", "autofill_text": "Fill in",
             "supported_apps": [{"package_name": "com.example.app", "signature_hash": "K8a2"}]},
        ]},
    ]);
    assert_eq!(Value::Array(graph.components.clone()), expected);
    assert_eq!(Value::Array(to_cams(&graph.components).components), components);
    // The older form of the same, and a button that needs nothing.
    let buttons = json!([
        {"Type": "ZERO_TAP", "PackageName": "com.example.app", "SignatureHash": "K8a2"},
        {"Type": "COPY_CODE", "Text": "Copy"},
    ]);
    let graph = graph_of("AUTHENTICATION", &with_buttons(&buttons), &json!({})).unwrap();
    let told = &graph.components[1]["buttons"];
    assert_eq!(told[0]["supported_apps"][0]["package_name"], "com.example.app");
    assert_eq!(told[0]["zero_tap_terms_accepted"], true);
    assert_eq!(told[1], json!({"type": "OTP", "otp_type": "COPY_CODE", "text": "Copy"}));
    // What WhatsApp words by itself is not sent.
    assert_eq!(graph.components[0], json!({"type": "BODY"}));
    for (component, field) in [
        (json!({"Type": "HEADER", "Text": "a"}), "Type"),
        (json!({"Type": "FOOTER", "CodeExpirationMinutes": 0}), "CodeExpirationMinutes"),
        (json!({"Type": "FOOTER", "CodeExpirationMinutes": 91}), "CodeExpirationMinutes"),
        (json!({"Type": "BUTTONS", "Buttons": [{"Type": "URL"}]}), "Type"),
    ] {
        let unfit = graph_of("AUTHENTICATION", &json!([{"Type": "BODY"}, component]), &json!({}));
        let Err(Unfit::Value { field: told, .. }) = unfit else { panic!("{unfit:?}") };
        assert_eq!(told, field);
    }
}

#[test]
fn a_button_for_a_code_is_known_again_when_it_is_read_back_as_a_link() {
    let url = format!("{CODE_LINK}?otp_type=COPY_CODE&code=otp{{{{1}}}}");
    let components = json!([{"type": "BUTTONS", "buttons": [
        {"type": "URL", "text": "Copy code", "url": url, "example": ["x"]},
    ]}]);
    let cams = to_cams(components.as_array().unwrap());
    assert_eq!(cams.components[0]["Buttons"], json!([{"Type": "COPY_CODE", "Text": "Copy code"}]));
    let definition = Definition::of(components.as_array().unwrap());
    assert_eq!(definition.buttons[0].kind, ButtonKind::Otp);
    assert_eq!(definition.buttons[0].variable.as_deref(), Some("button_0"));
}

#[test]
fn a_carousel_and_an_offer_go_there_and_back() {
    let card = |text: &str, at: usize| {
        json!({"CardComponents": [
            {"Type": "HEADER", "Format": "VIDEO", "Url": format!("https://example.com/{at}")},
            {"Type": "BODY", "Text": text},
            {"Type": "BUTTONS", "Buttons": [
                {"Type": "URL", "Text": "See", "UrlType": "dynamic",
                 "Url": format!("https://example.com/$(card_{at}_button_0)")},
                {"Type": "QUICK_REPLY", "Text": "Like"},
            ]},
        ]})
    };
    let components = json!([
        {"Type": "BODY", "Text": "Look, $(1)"},
        {"Type": "LIMITED_TIME_OFFER", "Text": "Ends soon", "HasExpiration": true},
        {"Type": "CAROUSEL", "Cards": [card("$(1)", 0), card("plain", 1)]},
    ]);
    let example = json!({"1": "Ada", "card_0_button_0": "a", "card_1_button_0": "b"});
    let graph = marketing(&components, &example).unwrap();
    assert_eq!(graph.components[2]["cards"][0]["components"][1]["text"], "{{1}}");
    assert_eq!(graph.components[1]["limited_time_offer"]["has_expiration"], true);
    let cams = to_cams(&graph.components);
    assert_eq!(Value::Array(cams.components), components);
    assert_eq!(Value::Object(cams.example), example);
    let definition = Definition::of(&graph.components);
    assert_eq!(definition.offer_expires, Some(true));
    assert_eq!(definition.cards.len(), 2);
    assert_eq!(definition.cards[0].header, Some(Header::Video));
    assert_eq!(definition.cards[0].body, ["1"]);
    assert_eq!(definition.cards[1].buttons[0].variable.as_deref(), Some("card_1_button_0"));
}

#[test]
fn what_cannot_be_a_template_is_refused_in_its_own_words() {
    let reply = |text: &str| json!({"Type": "QUICK_REPLY", "Text": text});
    let link = |url: &str, kind: &str| {
        with_buttons(&json!([{"Type": "URL", "Text": "a", "Url": url, "UrlType": kind}]))
    };
    for (components, expected) in [
        (json!([]), "`Components` has no `BODY`"),
        (json!([7]), "`Components[0]` has no `Type`"),
        (json!([{"Type": "BODY"}]), "`Components[0]` has no `Text`"),
        (json!([{"Type": "BODI"}]), "`Components[0]`: `Type` is `BODI`; use BODY, HEADER, FOOTER"),
        (body("$(Name)"), "the variable `Name` is neither a number nor of lower-case letters"),
        (body("$(a b)"), "the variable `a b` is neither"),
        (body("$(1)$(3)"), "`Components[0]`: numbered variables count up from 1 in each text; `2`"),
        (body("$(0)"), "in each text; `1` is missing"),
        (body("$(01)"), "in each text; `1` is missing"),
        (body("$(1)$(a)"), "variables are all numbers or all names, not `1` and `a`"),
        (body("{{1}}"), "`Components[0]` has `{{`; write a variable as `$(name)`"),
        (body("{$(1)"), "`Components[0]` has `{{`"),
        (body("$(other)"), "`Example` has no text for the variable `other`"),
        (
            json!([{"Type": "HEADER", "Text": "$(1)$(2)"}, {"Type": "BODY", "Text": "a"}]),
            "`Components[0]` has `2` variables, at most `1` fit",
        ),
        (
            json!([{"Type": "FOOTER", "Text": "$(1)"}, {"Type": "BODY", "Text": "a"}]),
            "`Components[0]` has `1` variables, at most `0` fit",
        ),
        (
            json!([{"Type": "HEADER", "Format": "GIF"}]),
            "`Components[0]`: `Format` is `GIF`; use TEXT, IMAGE",
        ),
        (with_buttons(&json!([])), "`Components[1]` has no `Buttons`"),
        (with_buttons(&json!([{"Text": "a"}])), "`Components[1].Buttons[0]` has no `Type`"),
        (
            with_buttons(&json!([reply("a"), {"Type": "DANCE", "Text": "a"}])),
            "`Components[1].Buttons[1]`: `Type` is `DANCE`; use QUICK_REPLY",
        ),
        (with_buttons(&json!([{"Type": "URL", "Text": "a"}])), "has no `Url`"),
        (link("https://a/$(1)/b", ""), "the variable of the link `https://a/$(1)/b` has to be"),
        (link("$(1)", ""), "the variable of the link `$(1)` has to be its end"),
        (link("https://a/{$(1)", ""), "has to be its end"),
        (link("https://a/{{1}}", ""), "`Components[1].Buttons[0]` has `{{`"),
        (link("https://a/", "dynamic"), "`UrlType` is `dynamic`; use `dynamic` with a variable"),
        (link("https://a/$(1)", "static"), "`UrlType` is `static`; use `dynamic` with a variable"),
    ] {
        let unfit = marketing(&components, &json!({"1": "x", "2": "x", "3": "x"})).unwrap_err();
        assert!(unfit.to_string().contains(expected), "{unfit}\n{expected}");
    }
}

/// Components of something so long, or of so many.
type Of<'f, T> = &'f dyn Fn(T) -> Value;
type OfText<'f> = &'f dyn Fn(&str) -> Value;

#[test]
fn every_limit_holds_at_its_edge() {
    let long = |chars: usize| "ä".repeat(chars);
    let header =
        |text: &str| json!([{"Type": "HEADER", "Text": text}, {"Type": "BODY", "Text": "a"}]);
    let footer =
        |text: &str| json!([{"Type": "BODY", "Text": "a"}, {"Type": "FOOTER", "Text": text}]);
    let button = |text: &str| with_buttons(&json!([{"Type": "QUICK_REPLY", "Text": text}]));
    let link = |text: &str| with_buttons(&json!([{"Type": "URL", "Text": "a", "Url": text}]));
    let card = |text: &str| {
        json!([{"Type": "BODY", "Text": "a"}, {"Type": "CAROUSEL", "Cards": [
            {"CardComponents": [{"Type": "BODY", "Text": text}]},
        ]}])
    };
    let texts: [(OfText<'_>, usize); 6] = [
        (&body, BODY_MAX),
        (&header, HEADER_MAX),
        (&footer, FOOTER_MAX),
        (&button, BUTTON_TEXT_MAX),
        (&link, URL_MAX),
        (&card, CARD_BODY_MAX),
    ];
    for (of, max) in texts {
        assert!(marketing(&of(&long(max)), &json!({})).is_ok(), "{max}");
        let unfit = marketing(&of(&long(max + 1)), &json!({})).unwrap_err();
        assert!(matches!(unfit, Unfit::TooLong { chars, max: told, .. }
            if chars == max + 1 && told == max));
    }
    let buttons = |kind: &str, count: usize| {
        let button = json!({"Type": kind, "Text": "a", "Url": "https://a", "PhoneNumber": "1"});
        with_buttons(&json!(vec![button; count]))
    };
    let cards = |count: usize, buttons: usize| {
        let button = json!({"Type": "QUICK_REPLY", "Text": "a"});
        let card = json!({"CardComponents": [
            {"Type": "BUTTONS", "Buttons": vec![button; buttons]}]});
        json!([{"Type": "BODY", "Text": "a"}, {"Type": "CAROUSEL", "Cards": vec![card; count]}])
    };
    let counts: [(Of<'_, usize>, usize); 5] = [
        (&|count| buttons("QUICK_REPLY", count), BUTTONS_MAX),
        (&|count| buttons("URL", count), URL_BUTTONS_MAX),
        (&|count| buttons("PHONE_NUMBER", count), PHONE_BUTTONS_MAX),
        (&|count| cards(count, 1), CARDS_MAX),
        (&|count| cards(1, count), CARD_BUTTONS_MAX),
    ];
    for (of, max) in counts {
        assert!(marketing(&of(max), &json!({})).is_ok(), "{max}");
        let unfit = marketing(&of(max + 1), &json!({})).unwrap_err();
        assert!(matches!(unfit, Unfit::TooMany { count, max: told, .. }
            if count == max + 1 && told == max));
    }
    assert!(check_name(&"a".repeat(NAME_MAX)).is_ok() && check_name("sale_2").is_ok());
    for name in ["", "Sale", "sale-2", "säle", &"a".repeat(NAME_MAX + 1)] {
        assert_eq!(check_name(name), Err(Unfit::Name(name.chars().take(64).collect())));
    }
    let minutes = |minutes: i64| json!([{"Type": "BODY"}, {"Type": "FOOTER", "CodeExpirationMinutes": minutes}]);
    assert!(graph_of("AUTHENTICATION", &minutes(CODE_MINUTES_MAX), &json!({})).is_ok());
    assert!(graph_of("AUTHENTICATION", &minutes(CODE_MINUTES_MAX + 1), &json!({})).is_err());
}

#[test]
fn a_definition_says_what_a_send_fills_in() {
    let components = json!([
        {"type": "header", "format": "document", "example": {"header_handle": ["h"]}},
        {"type": "BODY", "text": "{{2}} {{ 1 }} {{2}} {{}} {{"},
        {"type": "HOLOGRAM"},
        7,
        {"type": "BUTTONS", "buttons": [
            {"type": "URL", "text": "Fixed", "url": "https://example.com"},
            {"type": "URL", "text": "Ours", "url": "https://r.example.com/{{1}}"},
            {"type": "COPY_CODE", "text": "Copy"},
            {"type": "QUICK_REPLY", "text": "Yes"},
            {"type": "dance"},
        ]},
    ]);
    let definition = Definition::parse(&components.to_string()).unwrap();
    assert_eq!(definition.header, Some(Header::Document));
    assert_eq!(definition.body, ["2", "1"]);
    assert_eq!(definition.unknown, ["HOLOGRAM"]);
    let told: Vec<_> = definition
        .buttons
        .iter()
        .map(|it| (it.index, it.kind.clone(), it.text.as_str(), it.variable.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            (0, ButtonKind::Url, "Fixed", None),
            (1, ButtonKind::Url, "Ours", Some("button_1")),
            (2, ButtonKind::CopyCode, "Copy", Some("button_2")),
            (3, ButtonKind::QuickReply, "Yes", None),
            (4, ButtonKind::Other("DANCE".to_owned()), "", None),
        ]
    );
    let link =
        |fixed: &str, ends_in_variable| Some(Link { fixed: fixed.to_owned(), ends_in_variable });
    assert_eq!(definition.buttons[0].link, link("https://example.com", false));
    assert_eq!(definition.buttons[1].link, link("https://r.example.com/", true));
    let other = Definition::parse(r#"[{"type":"HEADER","format":"GIF"}]"#).unwrap();
    assert_eq!(other.header, Some(Header::Other("GIF".to_owned())));
}

#[test]
fn components_that_are_none_are_told() {
    for text in ["", "{}", "7", "[", "null"] {
        assert_eq!(Definition::parse(text), Err(Unparsed::NotAList), "{text}");
    }
    let padded = |bytes: usize| format!("[]{}", " ".repeat(bytes - 2));
    assert_eq!(Definition::parse(&padded(COMPONENTS_BYTES_MAX)), Ok(Definition::default()));
    let bytes = COMPONENTS_BYTES_MAX + 1;
    assert_eq!(Definition::parse(&padded(bytes)), Err(Unparsed::TooLong { bytes }));
}

/// A text with variables of the given names, and none that could be taken for one.
fn any_text(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Zäß !,.)(}$]{1,6}".prop_filter("no variable", |it| !it.contains("$(")),
        proptest::sample::select(names).prop_map(|name| format!("$({name})")),
    ];
    proptest::collection::vec(piece, 1..6)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("only our variables", move |text| {
            text::variables(text, text::CAMS).iter().all(|name| names.contains(name))
        })
}

/// A button of each kind at `at`, with the names that come back.
fn any_button(at: usize) -> impl Strategy<Value = Value> {
    let name = button_variable(None, at);
    prop_oneof![
        "[a-z ]{1,25}".prop_map(|text| json!({"Type": "QUICK_REPLY", "Text": text})),
        "[a-z]{1,9}".prop_map(|text| json!({
            "Type": "URL", "Text": text, "UrlType": "static",
            "Url": format!("https://example.com/{text}"),
        })),
        "[a-z]{1,9}".prop_map(move |text| json!({
            "Type": "URL", "Text": text, "UrlType": "dynamic",
            "Url": format!("https://example.com/{text}?a=$({name})"),
        })),
        Just(
            json!({"Type": "COPY_CODE", "CouponCode": format!("$({})", button_variable(None, at))})
        ),
        Just(json!({"Type": "FLOW", "Text": "Ask", "FlowId": "1", "FlowAction": "DATA_EXCHANGE"})),
    ]
}

fn any_template() -> impl Strategy<Value = Value> {
    let header = proptest::option::of(prop_oneof![
        Just(json!({"Type": "HEADER", "Format": "TEXT", "Text": "For $(name)"})),
        Just(json!({"Type": "HEADER", "Format": "LOCATION"})),
        proptest::sample::select(vec!["IMAGE", "VIDEO", "DOCUMENT"]).prop_map(|format| {
            json!({"Type": "HEADER", "Format": format, "Url": "https://example.com/m"})
        }),
    ]);
    let body = any_text(&["name", "off", "day_2"]);
    let footer = proptest::option::of("[a-z .]{1,60}");
    let buttons = (any_button(0), any_button(1)).prop_map(|(one, other)| json!([one, other]));
    (header, body, footer, proptest::option::of(buttons)).prop_map(
        |(header, body, footer, buttons)| {
            let body = json!({"Type": "BODY", "Text": body});
            let footer = footer.map(|text| json!({"Type": "FOOTER", "Text": text}));
            let buttons = buttons.map(|list| json!({"Type": "BUTTONS", "Buttons": list}));
            [header, Some(body), footer, buttons].into_iter().flatten().collect()
        },
    )
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[$({a1})]{0,8}".prop_map(Value::from),
        proptest::sample::select(vec![
            "HEADER", "BODY", "BUTTONS", "CAROUSEL", "URL", "OTP", "IMAGE"
        ])
        .prop_map(Value::from),
    ];
    let keys = vec![
        "type",
        "text",
        "format",
        "url",
        "example",
        "buttons",
        "cards",
        "components",
        "cardcomponents",
        "couponcode",
        "body_text",
        "header_handle",
        "limited_time_offer",
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let keys = proptest::sample::select(keys.clone()).prop_map(str::to_owned);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(keys, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_template_comes_back_as_it_went(components in any_template()) {
        let example = json!({
            "name": "Ada", "off": "20%", "day_2": "Sunday", "button_0": "x", "button_1": "y",
        });
        let graph = marketing(&components, &example).unwrap();
        let cams = to_cams(&graph.components);
        prop_assert_eq!(&Value::Array(cams.components.clone()), &components);
        let again = marketing(&Value::Array(cams.components), &Value::Object(cams.example)).unwrap();
        prop_assert_eq!(&again, &graph);
        // A send has to fill in what CAMS calls variables, and nothing else.
        let definition = Definition::parse(&Value::Array(graph.components).to_string()).unwrap();
        let told: Vec<_> = definition.buttons.iter().filter_map(|it| it.variable.clone()).collect();
        let ours: Vec<_> = graph.button_variables.into_iter().map(|it| it.name).collect();
        prop_assert_eq!(told, ours);
        let is_body = |it: &&Value| it["Type"] == "BODY";
        let text = components.as_array().unwrap().iter().find(is_body).unwrap()["Text"].as_str();
        prop_assert_eq!(definition.body, text::variables(text.unwrap(), text::CAMS));
    }

    #[test]
    fn nothing_makes_it_panic(list in proptest::collection::vec(any_json(), 0..4)) {
        drop(to_cams(&list));
        drop(Definition::of(&list));
        for category in ["MARKETING", "AUTHENTICATION"] {
            drop(graph_of(category, &Value::Array(list.clone()), &json!({"a": "1", "1": "a"})));
        }
    }

    #[test]
    fn a_text_is_its_pieces(text in "[$({a1 })ä]{0,24}") {
        for notation in [text::CAMS, text::GRAPH] {
            let names = text::variables(&text, notation);
            let same = text::rewritten(&text, notation, notation);
            // Blanks around a name are the only thing that is lost.
            prop_assert_eq!(text::variables(&same, notation), names);
        }
    }
}
