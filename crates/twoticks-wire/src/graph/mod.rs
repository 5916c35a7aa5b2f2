//! The Graph API: what is asked of it and what it answers, as values.
//!
//! [`template`] turns templates between CAMS's words and the Graph API's, [`analytics`] asks for
//! its figures and reads them. To add an edge: a module here. What always holds: enumerations are
//! open, ids may be texts or numbers, money is never a float, and no answer makes it panic.

pub mod analytics;
pub mod template;
