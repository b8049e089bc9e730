//! Credentials from each of the provider's places, and what is refused.

use super::*;

/// The client's answer to whether EC2 can be asked.
async fn check(config: &AwsConfig) -> Result<(), ProvisionError> {
    let provisioner = config.open()?;
    provisioner.check(soon()).await
}

checks! {
    each_place_is_looked_into
    what_does_not_do_is_denied_and_no_secret_is_told
}

async fn each_place_is_looked_into(rig: &Rig) {
    let counterpart = &rig.counterpart;
    let whole = config(counterpart, "coordinator");
    assert_eq!(check(&whole).await, Ok(()));

    // A profile in a file; the environment's keys don't count against one that is named.
    let key = &counterpart.ready()["keys"]["coordinator"];
    let file = counterpart.directory().join("credentials");
    let text = format!(
        "[ops]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        key["access_key_id"].as_str().expect("a key"),
        key["secret_access_key"].as_str().expect("a key")
    );
    std::fs::write(&file, text).expect("written");
    let settings = counterpart.directory().join("config");
    std::fs::write(&settings, "[profile ops]\nregion = eu-west-1\n").expect("written");
    let of_profile = AwsConfig {
        profile: Some("ops".into()),
        region: None,
        environment: Environment::of([
            ("AWS_ACCESS_KEY_ID", "AKIAWRONG"),
            ("AWS_SECRET_ACCESS_KEY", "wrong"),
            ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().expect("text")),
            ("AWS_CONFIG_FILE", settings.to_str().expect("text")),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]),
        ..whole.clone()
    };
    assert_eq!(check(&of_profile).await, Ok(()));

    // The role of this machine, by its metadata service; the region, too.
    let endpoint = counterpart.text("endpoint");
    let of_role = AwsConfig {
        region: None,
        environment: Environment::of([("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)]),
        ..whole
    };
    assert_eq!(check(&of_role).await, Ok(()));
}

async fn what_does_not_do_is_denied_and_no_secret_is_told(rig: &Rig) {
    let counterpart = &rig.counterpart;
    let denied = |result: Result<(), ProvisionError>| match result {
        Err(error @ ProvisionError::Denied(_)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let said = denied(check(&config(counterpart, "stranger")).await);
    assert!(
        said.contains("AccessDenied") || said.contains("UnauthorizedOperation"),
        "{said}"
    );

    let known = config(counterpart, "coordinator");
    let key = counterpart.ready()["keys"]["coordinator"]["access_key_id"]
        .as_str()
        .expect("a key");
    let wrong = AwsConfig {
        environment: Environment::of([
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", "wrong-secret"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]),
        ..known.clone()
    };
    let said = denied(check(&wrong).await);
    assert!(!said.contains("wrong-secret"), "{said}");
    assert!(!format!("{:?}", wrong.open()).contains("wrong-secret"));

    let none = AwsConfig {
        environment: Environment::of([("AWS_EC2_METADATA_DISABLED", "true")]),
        ..known.clone()
    };
    assert!(denied(check(&none).await).contains("AWS_ACCESS_KEY_ID"));
    let nowhere = AwsConfig {
        region: None,
        ..none
    };
    let error = check(&nowhere).await.expect_err("no region");
    assert!(error.to_string().contains("region"), "{error}");
}
