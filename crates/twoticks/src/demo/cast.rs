//! Who is in the demo: three businesses with their numbers, templates and habits.
//!
//! All of it is invented. Business numbers are of the range that is kept free for stories;
//! recipients have numbers that nobody can dial (an area code that begins with 0).

use twoticks_core::event::{ButtonKind, Category};
use twoticks_emulator::tenants::ChannelPlan;

/// A business.
pub(super) struct Business {
    /// Its channel and numbers.
    pub(super) channel: ChannelPlan<'static>,
    /// The language of its templates.
    pub(super) language: &'static str,
    /// Hours east of Greenwich, about: when it is day there.
    pub(super) hours_east: i64,
    /// What its customers' numbers begin with, and how many it has.
    pub(super) customers: (&'static str, i64),
    /// Whether it sends marketing by the Marketing Messages API, which tells opened links.
    pub(super) tells_links: bool,
    /// What it sends.
    pub(super) templates: &'static [Template],
}

/// A template.
pub(super) struct Template {
    pub(super) code: &'static str,
    pub(super) category: Category,
    pub(super) buttons: &'static [(ButtonKind, &'static str)],
    /// Which of the numbers sends it.
    pub(super) number: usize,
    /// How many are sent on a day, as they come; campaigns come on top.
    pub(super) per_day: i64,
}

const M: Category = Category::Marketing;
const U: Category = Category::Utility;
const A: Category = Category::Authentication;
const REPLY: ButtonKind = ButtonKind::QuickReply;
const LINK: ButtonKind = ButtonKind::Url;
const CALL: ButtonKind = ButtonKind::PhoneNumber;

/// The three businesses.
#[rustfmt::skip]
pub(super) const BUSINESSES: [Business; 3] = [
    Business {
        channel: ChannelPlan {
            name: "Demo: Toko (Indonesian shop)",
            waba_id: "100000000000001",
            numbers: &[("15550100011", "100000000000011"), ("15550100012", "100000000000012")],
        },
        language: "id",
        hours_east: 7,
        customers: ("620", 30_000),
        tells_links: true,
        templates: &[
            Template { code: "demo_promo", category: M, buttons: &[(REPLY, "Lihat"), (REPLY, "Nanti saja"), (LINK, "Belanja")], number: 0, per_day: 0 },
            Template { code: "demo_flash_sale", category: M, buttons: &[(REPLY, "Mau!"), (REPLY, "Berhenti")], number: 0, per_day: 0 },
            Template { code: "demo_cart", category: M, buttons: &[(LINK, "Bayar"), (REPLY, "Hapus")], number: 0, per_day: 45 },
            Template { code: "demo_order", category: U, buttons: &[], number: 1, per_day: 120 },
            Template { code: "demo_delivery", category: U, buttons: &[(REPLY, "Ubah jadwal")], number: 1, per_day: 80 },
            Template { code: "demo_code", category: A, buttons: &[], number: 1, per_day: 50 },
        ],
    },
    Business {
        channel: ChannelPlan {
            name: "Demo: Banco (Brazilian bank)",
            waba_id: "100000000000002",
            numbers: &[("15550100021", "100000000000021"), ("15550100022", "100000000000022")],
        },
        language: "pt_BR",
        hours_east: -3,
        customers: ("5500", 25_000),
        tells_links: false,
        templates: &[
            Template { code: "demo_cartao", category: M, buttons: &[(REPLY, "Quero saber mais"), (REPLY, "Agora não")], number: 0, per_day: 0 },
            Template { code: "demo_investir", category: M, buttons: &[(REPLY, "Simular"), (CALL, "Ligar")], number: 0, per_day: 0 },
            Template { code: "demo_extrato", category: U, buttons: &[(REPLY, "Ver extrato")], number: 1, per_day: 40 },
            Template { code: "demo_pix", category: U, buttons: &[], number: 1, per_day: 120 },
            Template { code: "demo_token", category: A, buttons: &[], number: 1, per_day: 90 },
        ],
    },
    Business {
        channel: ChannelPlan {
            name: "Demo: Outlet (German outlet)",
            waba_id: "100000000000003",
            numbers: &[("15550100031", "100000000000031"), ("15550100032", "100000000000032")],
        },
        language: "de",
        hours_east: 1,
        customers: ("490", 12_000),
        tells_links: false,
        templates: &[
            Template { code: "demo_sale", category: M, buttons: &[(REPLY, "Zeig mir mehr"), (REPLY, "Nein danke")], number: 0, per_day: 0 },
            Template { code: "demo_newsletter", category: M, buttons: &[(REPLY, "Größe prüfen"), (LINK, "Zum Shop")], number: 0, per_day: 0 },
            Template { code: "demo_versand", category: U, buttons: &[(REPLY, "Ablageort ändern")], number: 1, per_day: 60 },
            Template { code: "demo_abholung", category: U, buttons: &[(REPLY, "Bin unterwegs")], number: 1, per_day: 25 },
            Template { code: "demo_login", category: A, buttons: &[], number: 1, per_day: 35 },
        ],
    },
];

/// How many are sent in each three hours of a local day, of a thousand.
pub(super) const DAY: [i64; 8] = [10, 10, 92, 186, 184, 206, 222, 90];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_numbers_and_accounts_are_distinct_and_every_number_is_there() {
        let mut seen = BTreeSet::new();
        for business in &BUSINESSES {
            assert!(seen.insert(business.channel.waba_id));
            for (number, id) in business.channel.numbers {
                assert!(number.starts_with("155501000") && seen.insert(number) && seen.insert(id));
            }
            for template in business.templates {
                assert!(seen.insert(template.code));
                assert!(template.number < business.channel.numbers.len(), "{}", template.code);
            }
            let categories: BTreeSet<_> = business.templates.iter().map(|it| it.category).collect();
            assert_eq!(categories.len(), 3, "{}", business.channel.name);
        }
        assert_eq!(DAY.iter().sum::<i64>(), 1_000);
    }
}
