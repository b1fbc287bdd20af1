//! The body of a reply as a completion of OpenAI's API. Each field is read by itself: an odd one takes none of the others with
//! it.

use crate::server::Usage;
use crate::server::sending::CUT;
use serde_json::Value;

fn completion(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_default()
}

/// The tokens that a completion took, where the server tells.
///
/// # Errors
/// What it is in the place of a completion: a page of a proxy, an error, nothing. A refusal of the model is a completion.
pub fn read(body: &str) -> Result<Option<Usage>, String> {
    let whole = completion(body);
    match &whole["choices"][0]["message"] {
        Value::Object(_) => Ok(usage(body)),
        // Longer than anybody reads: a reply that cannot be read.
        _ if whole[CUT].is_string() => Ok(None),
        _ if whole["error"].is_null() => Err("no completion".to_owned()),
        _ => Err("an error".to_owned()),
    }
}

/// The text that the model wrote; `None` where the body holds none, as a refusal.
pub fn text(body: &str) -> Option<String> {
    match &completion(body)["choices"][0]["message"]["content"] {
        Value::String(text) => Some(text.clone()),
        // Some servers write it in parts.
        Value::Array(parts) => Some(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
        _ => None,
    }
}

/// The model that the server says it was.
pub fn model(body: &str) -> Option<String> {
    completion(body)["model"].as_str().map(str::to_owned)
}

fn usage(body: &str) -> Option<Usage> {
    let usage = completion(body)["usage"].take();
    let count = |field: &str| usage[field].as_u64().unwrap_or_default();
    let counted = Usage { prompt_tokens: count("prompt_tokens"), completion_tokens: count("completion_tokens") };
    usage.is_object().then_some(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_model_and_tokens_are_read_each_by_itself() {
        let body = r#"{"model": "m-1", "choices": [{"message": {"content": "yes"}}], "usage": {"prompt_tokens": 7}}"#;
        assert_eq!((text(body).as_deref(), model(body).as_deref()), (Some("yes"), Some("m-1")));
        assert_eq!(read(body).unwrap(), Some(Usage { prompt_tokens: 7, completion_tokens: 0 }));
        assert_eq!(text(r#"{"choices": [{"message": {"content": [{"text": "a"}, {"text": "b"}]}}]}"#).unwrap(), "ab");
    }

    #[test]
    fn a_body_that_is_no_completion_says_nothing() {
        for body in
            ["", "<html>", "{}", r#"{"choices": []}"#, r#"{"choices": [{"message": {"content": null}}]}"#, "[1]"]
        {
            assert_eq!(text(body), None, "{body}");
            // What a model refuses is a reply.
            assert_eq!(read(body).is_ok(), body.contains("content"), "{body}");
        }
        let refusal = r#"{"choices": [{"message": {"content": null, "refusal": "I will not."}}]}"#;
        assert_eq!(read(refusal), Ok(None));
        assert_eq!(read(r#"{"error": {"message": "overloaded"}}"#), Err("an error".to_owned()));
    }
}
