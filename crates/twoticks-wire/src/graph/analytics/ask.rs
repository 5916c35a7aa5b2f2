//! Asking: the edge and the parameters of each of the three kinds of figures.

use super::{DAY_SECONDS, Days, Product};

/// How many templates one request may ask for.
pub const TEMPLATES_MAX: usize = 10;

/// The longest id, in bytes. Ids are digits, and so need no escaping wherever they stand.
pub const ID_MAX: usize = 32;

/// The least whole phone number of a business and the most, in digits.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 3..=20;

/// One GET: append `path` to the address of a version, and the parameters, escaped, as its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Without a leading slash, such as `1234/template_analytics`.
    pub path: String,
    /// Names and values, not escaped yet. The access token is not among them.
    pub parameters: Vec<(&'static str, String)>,
}

/// Why a request cannot be put.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unasked {
    /// An id of a business account or of a template that is none.
    #[error("the id `{0}` is not of 1 to {ID_MAX} digits")]
    Id(String),
    /// A phone number that is none.
    #[error("the phone number `{0}` is not of 3 to 20 digits; leave out `+` and blanks")]
    Phone(String),
    /// None, or too many for one request.
    #[error("a request asks for 1 to {TEMPLATES_MAX} templates, not for `{0}`")]
    Templates(usize),
    /// A span of time that ends before it begins, or where it begins.
    #[error("the span from `{start_seconds}` to `{end_seconds}` is empty")]
    Span {
        /// Its start in seconds of Unix time.
        start_seconds: i64,
        /// Its end in seconds of Unix time.
        end_seconds: i64,
    },
}

/// The widths of the buckets of [`messages`].
///
/// Days and months are those of the account's own time zone, half hours fall on :00 and :30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// `HALF_HOUR`.
    HalfHour,
    /// `DAY`; `DAILY` in [`pricing`].
    Day,
    /// `MONTH`; `MONTHLY` in [`pricing`].
    Month,
}

/// What [`pricing`] tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The recipient's country.
    Country,
    /// The business's phone number.
    Phone,
    /// Marketing, utility and so on.
    PricingCategory,
    /// Regular, or free for one of several reasons.
    PricingType,
    /// The volume tier.
    Tier,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Country, Self::Phone, Self::PricingCategory, Self::PricingType, Self::Tier];

    /// Meta's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Country => "COUNTRY",
            Self::Phone => "PHONE",
            Self::PricingCategory => "PRICING_CATEGORY",
            Self::PricingType => "PRICING_TYPE",
            Self::Tier => "TIER",
        }
    }
}

/// Asks for what became of templates, day by day (UTC).
///
/// `DAILY` is all there is, and all metrics are asked for. The end is a second before a midnight:
/// whether an end at midnight takes that day in is not documented.
///
/// # Errors
///
/// [`Unasked::Id`] for an id that is not of digits, [`Unasked::Templates`] for none or more than
/// [`TEMPLATES_MAX`], [`Unasked::Span`] for days that end before they begin.
pub fn templates<T: AsRef<str>>(
    waba_id: &str,
    template_ids: &[T],
    days: Days,
    product: Product,
) -> Result<Ask, Unasked> {
    check_id(waba_id)?;
    if template_ids.is_empty() || template_ids.len() > TEMPLATES_MAX {
        return Err(Unasked::Templates(template_ids.len()));
    }
    for id in template_ids {
        check_id(id.as_ref())?;
    }
    let start_seconds = days.first.start_seconds();
    let end_seconds = days.last.start_seconds().saturating_add(DAY_SECONDS - 1);
    check_span(start_seconds, end_seconds)?;
    let ids: Vec<&str> = template_ids.iter().map(AsRef::as_ref).collect();
    Ok(Ask {
        path: format!("{waba_id}/template_analytics"),
        parameters: vec![
            ("start", start_seconds.to_string()),
            ("end", end_seconds.to_string()),
            ("granularity", "DAILY".to_owned()),
            ("template_ids", format!("[{}]", ids.join(","))),
            ("product_type", product.word().to_owned()),
        ],
    })
}

/// Asks for the messages that one phone number sent and that were delivered.
///
/// Answers do not tell phone numbers apart: hence one a request. The span is half-open, in
/// seconds of Unix time.
///
/// # Errors
///
/// [`Unasked::Id`], [`Unasked::Phone`] for a number that is not of digits alone, and
/// [`Unasked::Span`] for an empty span.
pub fn messages(
    waba_id: &str,
    phone_number: &str,
    (start_seconds, end_seconds): (i64, i64),
    granularity: Granularity,
) -> Result<Ask, Unasked> {
    check_id(waba_id)?;
    check_phone(phone_number)?;
    check_span(start_seconds, end_seconds)?;
    let granularity = match granularity {
        Granularity::HalfHour => "HALF_HOUR",
        Granularity::Day => "DAY",
        Granularity::Month => "MONTH",
    };
    let field = format!(
        "analytics.start({start_seconds}).end({end_seconds}).granularity({granularity})\
         .phone_numbers([\"{phone_number}\"])"
    );
    Ok(Ask { path: waba_id.to_owned(), parameters: vec![("fields", field)] })
}

/// Asks for how many messages were delivered and what they cost, told apart by `dimensions`
/// (repetitions count once). The span is half-open, in seconds of Unix time.
///
/// # Errors
///
/// [`Unasked::Id`], and [`Unasked::Span`] for an empty span.
pub fn pricing(
    waba_id: &str,
    (start_seconds, end_seconds): (i64, i64),
    granularity: Granularity,
    dimensions: &[Dimension],
) -> Result<Ask, Unasked> {
    check_id(waba_id)?;
    check_span(start_seconds, end_seconds)?;
    let granularity = match granularity {
        Granularity::HalfHour => "HALF_HOUR",
        Granularity::Day => "DAILY",
        Granularity::Month => "MONTHLY",
    };
    let mut field = format!(
        "pricing_analytics.start({start_seconds}).end({end_seconds}).granularity({granularity})\
         .metric_types([\"COST\",\"VOLUME\"])"
    );
    let words: Vec<String> = Dimension::ALL
        .into_iter()
        .filter(|known| dimensions.contains(known))
        .map(|known| format!("\"{}\"", known.word()))
        .collect();
    if !words.is_empty() {
        field.push_str(&format!(".dimensions([{}])", words.join(",")));
    }
    Ok(Ask { path: waba_id.to_owned(), parameters: vec![("fields", field)] })
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether it may be an id of Meta's: 1 to [`ID_MAX`] digits.
#[must_use]
pub fn is_id(id: &str) -> bool {
    (1..=ID_MAX).contains(&id.len()) && is_digits(id)
}

fn check_id(id: &str) -> Result<(), Unasked> {
    if is_id(id) { Ok(()) } else { Err(Unasked::Id(id.chars().take(ID_MAX).collect())) }
}

fn check_phone(number: &str) -> Result<(), Unasked> {
    let fits = PHONE_DIGITS.contains(&number.len()) && is_digits(number);
    if fits { Ok(()) } else { Err(Unasked::Phone(number.chars().take(ID_MAX).collect())) }
}

fn check_span(start_seconds: i64, end_seconds: i64) -> Result<(), Unasked> {
    if start_seconds < end_seconds {
        Ok(())
    } else {
        Err(Unasked::Span { start_seconds, end_seconds })
    }
}
