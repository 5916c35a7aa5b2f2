//! Every error code that a caller of the API may meet, in one table, and the refusal that carries
//! one.
//!
//! To add a code, add a row to `codes!`: its doc comment, HTTP status, wire name and message. The
//! generated reference page and the tests over all rows read the table.
//! What always holds: a wire name is spelt as the provider spells it and never renamed, and the
//! `Debug` and `Display` of a [`Refusal`] show no parameter value.

use std::borrow::Cow;
use std::fmt;

/// A parameter's name is shown to the caller up to this many characters.
pub const NAME_SHOWN_MAX: usize = 64;

/// A V3 mismatch shows the canonical request only up to this many bytes; a longer one would only
/// repeat the caller's own long request.
pub const CANONICAL_SHOWN_MAX: usize = 16 * 1024;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:literal, $wire:literal, $message:literal;)+) => {
        /// What went wrong, as clients match on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code, in the order of the reference page.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// HTTP status of the answer, 400 to 599.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// Name on the wire; `{P}` stands for the name of a parameter.
            pub const fn template(self) -> &'static str {
                match self { $(Self::$name => $wire,)+ }
            }

            /// Text of the message; `{P}` stands for the name of a parameter.
            pub const fn message(self) -> &'static str {
                match self { $(Self::$name => $message,)+ }
            }

            /// When the code is answered, for the reference page.
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc, "\n"),+),)+ }
            }
        }
    };
}

codes! {
    /// The request names no action, or none that is known.
    InvalidActionNotFound = 404, "InvalidAction.NotFound", "Specified api is not found, please check your url and method.";
    /// Older spelling of `InvalidAction.NotFound`; known, never answered here.
    InvalidApiNotFound = 404, "InvalidApi.NotFound", "Specified api is not found, please check your url and method.";
    /// The version is not one that this server speaks.
    InvalidVersion = 400, "InvalidVersion", "Specified parameter Version is not valid.";
    /// The request names no version.
    MissingVersion = 400, "MissingVersion", "Version is mandatory for this action.";
    /// A parameter that the operation needs is absent; its name is part of the code.
    MissingNamed = 400, "Missing{P}", "{P} is mandatory for this action.";
    /// A parameter that is needed is absent and has no code of its own.
    MissingParameter = 400, "MissingParameter", "The parameter {P} is mandatory for this action.";
    /// A parameter's value is not one that the operation takes; its name is part of the code.
    InvalidNamed = 400, "Invalid{P}", "Specified parameter {P} is not valid.";
    /// A parameter is given twice, cannot be decoded, or is wrong and has no code of its own.
    InvalidParameter = 400, "InvalidParameter", "Specified parameter {P} is not valid.";
    /// `Format` is none of `JSON`, `XML` and the literal `None`.
    InvalidParameterFormat = 400, "InvalidParameter.Format", "Specified parameter format is not valid.";
    /// The request carries no access key id, or no signature at all.
    MissingAccessKeyId = 400, "MissingAccessKeyId", "AccessKeyId is mandatory for this action.";
    /// No such access key.
    InvalidAccessKeyIdNotFound = 404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.";
    /// The access key exists and is disabled.
    InvalidAccessKeyIdInactive = 400, "InvalidAccessKeyId.Inactive", "Specified access key is disabled.";
    /// The signed request carries no time.
    MissingTimestamp = 400, "MissingTimestamp", "Timestamp is mandatory for this action.";
    /// Older spelling of `MissingTimestamp`; known, never answered here.
    IllegalTimestamp = 400, "IllegalTimestamp", "The input parameter Timestamp that is mandatory for processing this request is not supplied.";
    /// The time is not written `YYYY-MM-DDThh:mm:ssZ` (a fraction of a second is accepted).
    InvalidTimeStampFormat = 400, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.";
    /// The time is more than 15 minutes away from the server's, either way.
    InvalidTimeStampExpired = 400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.";
    /// The nonce was used before with the same access key.
    SignatureNonceUsed = 400, "SignatureNonceUsed", "Specified signature nonce was used already.";
    /// The signed request carries no nonce.
    MissingSignatureNonce = 400, "MissingSignatureNonce", "SignatureNonce is mandatory for this action.";
    /// The signature is not that of this request under the key's secret.
    SignatureDoesNotMatch = 400, "SignatureDoesNotMatch", "Specified signature does not match our calculation.";
    /// `Authorization` cannot be read, or a header that has to be signed is not.
    IncompleteSignature = 400, "IncompleteSignature", "The request signature does not conform to Aliyun standards.";
    /// The algorithm is not supported, or not with this key.
    InvalidSignatureMethod = 400, "InvalidSignatureMethod", "Specified signature method is not valid.";
    /// The security token is this key's and its time is over.
    InvalidSecurityTokenExpired = 400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.";
    /// The security token is not one that was given out.
    InvalidSecurityTokenMalformed = 400, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.";
    /// The security token belongs to another access key.
    InvalidSecurityTokenMismatch = 400, "InvalidSecurityToken.MismatchWithAccessKey", "Specified SecurityToken mismatch with the AccessKey.";
    /// A temporary access key is used without its security token.
    MissingSecurityToken = 400, "MissingSecurityToken", "SecurityToken is mandatory for this action.";
    /// The user is over the operation's limit; the answer says when to come back.
    ThrottlingUser = 400, "Throttling.User", "Request was denied due to user flow control.";
    /// The operation as a whole is over its limit; known, never answered here.
    ThrottlingApi = 400, "Throttling.Api", "Request was denied due to api flow control.";
    /// General form of throttling; known, never answered here.
    Throttling = 400, "Throttling", "Request was denied due to request throttling.";
    /// The system as a whole is over its limit, or its queue is full.
    SystemLimitControl = 400, "System.LimitControl", "The system is under flow control.";
    /// A policy denies the call, in the words of the operation's own error table (the default).
    RamPermissionDeny = 400, "Ram.PermissionDeny", "You are not authorized to perform the operation.";
    /// A policy denies the call, in the words of newer gateways (`cams.deny_code`).
    NoPermission = 403, "NoPermission", "You are not authorized to perform this operation.";
    /// Older form of a denial; known, never answered here.
    ForbiddenRam = 403, "Forbidden.RAM", "User not authorized to operate on the specified resource, or this API doesn't support RAM.";
    /// Oldest form of a denial; known, never answered here.
    Forbidden = 403, "Forbidden", "User not authorized to operate on the specified resource.";
    /// The HTTP method is neither `GET` nor `POST`.
    UnsupportedHttpMethod = 400, "UnsupportedHTTPMethod", "This http method is not supported.";
    /// The call has to come over HTTPS.
    InvalidProtocolNeedSsl = 404, "InvalidProtocol.NeedSsl", "Your request is denied as lack of ssl protect.";
    /// The host name belongs to no product; known, never answered here.
    InvalidProductNotFound = 404, "InvalidProduct.NotFound", "Cannot find product according to your specified domain.";
    /// The body is not as long as its head says.
    ContentLengthDoesNotMatch = 400, "ContentLengthDoesNotMatch", "The Content-Length does not match the length of the body.";
    /// `Content-MD5` is not that of the body; known, never answered here.
    ContentMd5NotMatched = 400, "ContentMD5NotMatched", "The Content-MD5 does not match the body.";
    /// The body is longer than the documented limit (our own code: none is public).
    RequestBodyTooLarge = 413, "RequestBodyTooLarge", "The request body is longer than this server accepts.";
    /// The request target is longer than the documented limit (our own code: none is public).
    RequestTargetTooLong = 414, "RequestTargetTooLong", "The request target is longer than this server accepts.";
    /// The headers are longer or more than the documented limit (our own code: none is public).
    RequestHeadersTooLarge = 431, "RequestHeadersTooLarge", "The request headers are longer than this server accepts.";
    /// The request is not HTTP/1.1 that can be read in one way only (our own code: none is public).
    MalformedRequest = 400, "MalformedRequest", "The request is not well-formed HTTP/1.1.";
    /// Something failed that is not the caller's fault.
    InternalError = 500, "InternalError", "The request processing has failed due to some unknown error, exception or failure.";
    /// The server cannot answer for the moment.
    ServiceUnavailable = 503, "ServiceUnavailable", "The request has failed due to a temporary failure of the server.";

    /// The account has not subscribed to the product.
    ProductUnsubscript = 400, "Product.Unsubscript", "You have not subscribed to the specified product.";
    /// The channel (`CustSpaceId`) is unknown or another account's.
    UnknownResourceOwnerId = 400, "Unknown.ResourceOwnerId", "The resource does not belong to the current user.";
    /// The account is not verified for the product.
    AuthenticationNoAuth = 400, "Authentication.NoAuth", "The account is not authenticated.";
    /// The message of the template is not valid.
    MessageInvalid = 400, "InvalidParameter.MessageInvalid", "The message is not valid.";
    /// The footer of the template has a variable.
    FooterHaveVariable = 400, "InvalidParameter.FooterHaveVariable", "The footer must not have a variable.";
    /// The header of the template has more than one variable (spelt as the original does).
    HeaderMoreVarable = 400, "InvalidParameter.HeaderMoreVarable", "The header must not have more than one variable.";
    /// The header of the template is of a type that is not supported.
    HeaderTypeNotSupport = 400, "InvalidParameter.HeaderTypeNotSupport", "The type of the header is not supported.";
    /// The text of a button has a variable.
    ButtonTextHaveVariable = 400, "InvalidParameter.ButtonTextHaveVariable", "The text of a button must not have a variable.";
    /// The URL of a button has more than one variable (spelt as the original does).
    UrlMoreVarable = 400, "InvalidParameter.UrlMoreVarable", "The URL must not have more than one variable.";
    /// The phone number of a button is not one.
    PhoneNumberError = 400, "InvalidParameter.PhoneNumberError", "The phone number is not valid.";
    /// A template of this name exists.
    TemplateNameExist = 400, "InvalidParameter.TemplateNameExist", "A template of this name exists.";
    /// The template could not be created.
    CreateError = 400, "InvalidParameter.CreateError", "The template could not be created.";
    /// The page of a list is not valid.
    PageInvalid = 400, "InvalidParameter.PageInvalid", "The page is not valid.";
    /// The language is not supported.
    LanguageNotSupport = 400, "InvalidParameter.LanguageNotSupport", "The language is not supported.";
    /// The audit status is not supported.
    AuditStatusNotSupport = 400, "InvalidParameter.AuditStatusNotSupport", "The audit status is not supported.";
    /// The type of template is not supported.
    TemplateTypeNotSupport = 400, "InvalidParameter.TemplateTypeNotSupport", "The type of template is not supported.";
    /// The type of channel is not supported.
    ChannelTypeNotSupport = 400, "InvalidParameter.ChannelTypeNotSupport", "The type of channel is not supported.";
    /// A free-form message needs `MessageType`.
    MessageTypeNotEmpty = 400, "InvalidParameter.MessageTypeNotEmpty", "MessageType must not be empty.";
    /// A free-form message needs `Content`.
    ContentNotEmpty = 400, "InvalidParameter.ContentNotEmpty", "Content must not be empty.";
    /// `Content` is not what its `MessageType` asks for.
    ContentError = 400, "InvalidParameter.ContentError", "Content is not valid.";
    /// A text message needs `text`.
    TextNotEmpty = 400, "InvalidParameter.TextNotEmpty", "The text must not be empty.";
    /// The `MessageType` is not supported.
    MessageTypeNotSupport = 400, "InvalidParameter.MessageTypeNotSupport", "The type of message is not supported.";
    /// A media message needs `link`.
    LinkNotEmpty = 400, "InvalidParameter.LinkNotEmpty", "The link must not be empty.";
    /// A template message needs `TemplateCode`.
    TemplateCodeNotEmpty = 400, "InvalidParameter.TemplateCodeNotEmpty", "TemplateCode must not be empty.";
    /// A template message needs `Language`.
    LanguageNotEmpty = 400, "InvalidParameter.LanguageNotEmpty", "Language must not be empty.";
    /// Falling back to SMS is not supported.
    SendSmsNotSupport = 400, "InvalidParameter.SendSmsNotSupport", "Sending an SMS is not supported.";
    /// `From` has something else than digits.
    FromOnlyNumeric = 400, "InvalidParameter.FromOnlyNumeric", "From must be digits only.";
    /// `To` has something else than digits.
    ToOnlyNumeric = 400, "InvalidParameter.ToOnlyNumeric", "To must be digits only.";
    /// The template to delete does not exist.
    DelErrorTemplateNotExist = 400, "DelError.TemplateNotExist", "The template does not exist.";
    /// The list of templates could not be read.
    TemplateListErrorQueryError = 400, "TemplateListError.QueryError", "The list of templates could not be read.";
    /// The template whose detail is asked for does not exist.
    DetailErrorTemplateNotExist = 400, "DetailError.TemplateNotExist", "The template does not exist.";
}

/// What the server calculated for a signature, without the signature.
///
/// It repeats the caller's own request, recipients and tokens included: it may be answered to the
/// caller and must never be logged, so its `Debug` shows lengths only.
#[derive(Clone, PartialEq, Eq)]
pub struct Calculation {
    /// The text that is signed.
    pub string_to_sign: String,
    /// The canonical request behind it; V3 only.
    pub canonical_request: Option<String>,
}

impl fmt::Debug for Calculation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calculation")
            .field("string_to_sign_bytes", &self.string_to_sign.len())
            .field("canonical_request_bytes", &self.canonical_request.as_ref().map(String::len))
            .finish()
    }
}

/// A request that is not served, and what the caller is told.
///
/// Build one with [`Refusal::from`] a [`Code`], [`Refusal::missing`], [`Refusal::invalid`] or
/// [`Refusal::naming`]. `Display` is the code alone, since the sentence may have a name in it that
/// the caller made up: safe to log, as is `Debug`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}")]
pub struct Refusal {
    /// The row of the table.
    pub code: Code,
    name: Cow<'static, str>,
    text: Cow<'static, str>,
    calculation: Option<Box<Calculation>>,
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("name", &self.name)
            .field("calculation", &self.calculation)
            .finish_non_exhaustive()
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { code, name: code.template().into(), text: code.message().into(), calculation: None }
    }
}

impl Refusal {
    /// `Missing` + the parameter's name, e.g. `MissingStart`.
    pub fn missing(parameter: &str) -> Self {
        Self::naming(Code::MissingNamed, parameter)
    }

    /// `Invalid` + the parameter's name, e.g. `InvalidEnd`.
    pub fn invalid(parameter: &str) -> Self {
        Self::naming(Code::InvalidNamed, parameter)
    }

    /// A code whose wire name or message has `{P}` in it, filled with the parameter's name (shown
    /// up to [`NAME_SHOWN_MAX`] characters).
    pub fn naming(code: Code, parameter: &str) -> Self {
        let shown: String = parameter.chars().take(NAME_SHOWN_MAX).collect();
        Self {
            code,
            name: code.template().replace("{P}", &shown).into(),
            text: code.message().replace("{P}", &shown).into(),
            calculation: None,
        }
    }

    /// `SignatureDoesNotMatch` with what the server calculated.
    pub fn mismatch(calculation: Calculation) -> Self {
        Self { calculation: Some(Box::new(calculation)), ..Self::from(Code::SignatureDoesNotMatch) }
    }

    /// The same with another sentence, which must have nothing secret in it.
    #[must_use]
    pub fn saying(self, text: String) -> Self {
        Self { text: text.into(), ..self }
    }

    /// HTTP status of the answer.
    pub fn status(&self) -> u16 {
        self.code.status()
    }

    /// The code as the wire spells it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The message for the caller.
    ///
    /// A mismatch repeats the caller's own request: answer it, never log it. The V1 text is
    /// matched by clients letter for letter and has exactly one colon.
    pub fn message(&self) -> Cow<'_, str> {
        let Some(calculation) = &self.calculation else { return Cow::Borrowed(&self.text) };
        let string_to_sign = &calculation.string_to_sign;
        let Some(canonical) = &calculation.canonical_request else {
            return Cow::Owned(format!(
                "Specified signature is not matched with our calculation. \
                 server string to sign is:{string_to_sign}"
            ));
        };
        let mut text = format!("{} server StringToSign is [{string_to_sign}]", self.text);
        if canonical.len() <= CANONICAL_SHOWN_MAX {
            text.push_str(&format!(" server CanonicalRequest is [{canonical}]"));
        }
        Cow::Owned(text)
    }

    /// What the server calculated, for a mismatch.
    pub fn calculation(&self) -> Option<&Calculation> {
        self.calculation.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Params;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_its_own_name_an_error_status_a_doc_and_a_message() {
        let mut names = BTreeSet::new();
        for code in Code::ALL {
            assert!(names.insert(code.template()), "{} is there twice", code.template());
            assert!((400..600).contains(&code.status()), "{}", code.template());
            assert!(code.doc().trim().len() > 10, "{}", code.template());
            assert!(code.message().ends_with('.'), "{}", code.template());
        }
    }

    #[test]
    fn a_missing_parameter_is_part_of_its_code() {
        let refusal = Refusal::missing("Start");
        assert_eq!(refusal.name(), "MissingStart");
        assert_eq!(refusal.message(), "Start is mandatory for this action.");
        assert_eq!(refusal.status(), 400);
        assert_eq!(Refusal::invalid("End").name(), "InvalidEnd");
    }

    #[test]
    fn a_long_name_is_cut() {
        let refusal = Refusal::naming(Code::InvalidParameter, &"é".repeat(NAME_SHOWN_MAX + 1));
        assert!(refusal.message().contains(&"é".repeat(NAME_SHOWN_MAX)));
        assert!(!refusal.message().contains(&"é".repeat(NAME_SHOWN_MAX + 1)));
    }

    #[test]
    fn what_is_logged_shows_no_name_that_the_caller_made_up() {
        let refusal = Params::parse(b"8613900000001&8613900000001", None).unwrap_err();
        assert_eq!(refusal.message(), "Specified parameter 8613900000001 is not valid.");
        assert!(!format!("{refusal} {refusal:?}").contains("8613900000001"), "{refusal:?}");
        assert_eq!(refusal.to_string(), "InvalidParameter");
        assert_eq!(Refusal::missing("Start").to_string(), "MissingStart");
    }

    #[test]
    fn a_v1_mismatch_reads_as_the_oldest_client_needs_it() {
        let refusal = Refusal::mismatch(Calculation {
            string_to_sign: "GET&%2F&a%3D1".into(),
            canonical_request: None,
        });
        assert_eq!(
            refusal.message(),
            "Specified signature is not matched with our calculation. \
             server string to sign is:GET&%2F&a%3D1"
        );
        assert_eq!(refusal.message().matches(':').count(), 1);
    }

    #[test]
    fn a_v3_mismatch_shows_the_canonical_request_up_to_its_limit() {
        let of = |length: usize| {
            Refusal::mismatch(Calculation {
                string_to_sign: "ACS3".into(),
                canonical_request: Some("x".repeat(length)),
            })
        };
        assert!(of(CANONICAL_SHOWN_MAX).message().contains("server CanonicalRequest is [xx"));
        assert!(of(CANONICAL_SHOWN_MAX + 1).message().ends_with("server StringToSign is [ACS3]"));
    }

    #[test]
    fn what_is_logged_of_a_mismatch_shows_nothing_of_the_request() {
        let refusal = Refusal::mismatch(Calculation {
            string_to_sign: "8613900000001".into(),
            canonical_request: Some("8613900000001".into()),
        });
        assert!(!format!("{refusal} {refusal:?}").contains("8613900000001"));
    }
}
