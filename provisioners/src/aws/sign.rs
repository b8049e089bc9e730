//! Signing requests (AWS Signature Version 4), by the provider's own crate.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::header::HeaderName;

use super::credentials::Keys;
use crate::ProvisionError;
use crate::http::Request;

/// The media type of all requests.
pub(super) const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// What is signed: where it goes to, and what it says.
pub(super) struct Letter<'a> {
    /// The whole address.
    pub(super) url: &'a str,
    /// The region that answers.
    pub(super) region: &'a str,
    /// The body.
    pub(super) body: &'a str,
}

/// Adds the headers that say who asks.
pub(super) fn signed(
    request: Request,
    letter: &Letter<'_>,
    keys: &Keys,
    at: SystemTime,
) -> Result<Request, ProvisionError> {
    let failed =
        |why: &dyn std::fmt::Display| ProvisionError::failed(format!("signing a request: {why}"));
    let token = keys.token.as_ref().map(|token| token.expose().to_owned());
    let identity = Credentials::new(&keys.id, keys.secret.expose(), token, None, "muster").into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(letter.region)
        .name("ec2")
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(&error))?
        .into();
    let headers = [("content-type", FORM)];
    let body = SignableBody::Bytes(letter.body.as_bytes());
    let signable = SignableRequest::new("POST", letter.url, headers.into_iter(), body)
        .map_err(|error| failed(&error))?;
    let (instructions, _) = sign(signable, &params)
        .map_err(|error| failed(&error))?
        .into_parts();
    let (headers, _) = instructions.into_parts();
    Ok(headers.into_iter().fold(request, |request, header| {
        let name = HeaderName::from_static(header.name());
        request.secret_header(name, header.value())
    }))
}
