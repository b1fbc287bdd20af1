//! Judges of answers: files, reward models, language models, endpoints. What they are asked, what counts of their replies, and
//! what one judgement becomes of several.

pub mod asking;
pub mod endpoint;
pub mod files;
pub mod hearing;
pub mod models;
pub mod prompt;
pub mod reading;
pub mod replies;
pub mod scores;
pub mod traffic;
