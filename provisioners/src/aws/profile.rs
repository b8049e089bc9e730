//! The files of profiles: `~/.aws/credentials` and `~/.aws/config`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Files that are longer hold something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The settings of one profile, by name.
pub(super) type Profile = BTreeMap<String, String>;

/// The settings of a profile in the text of such a file. A later one of the same name wins, as with the provider's own tools;
/// what can't be read is passed over: it is for other tools.
pub(super) fn find(text: &str, profile: &str) -> Option<Profile> {
    let mut settings: Option<Profile> = None;
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            // A nested setting of the line above.
            continue;
        }
        let line = line.trim();
        if let Some(title) = line.strip_prefix('[') {
            let title = title.split(']').next().unwrap_or_default().trim();
            let name = title.strip_prefix("profile").map_or(title, str::trim);
            let plain = if title == "profile" { title } else { name };
            inside = plain == profile;
            if inside {
                settings.get_or_insert_default();
            }
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((name, value)) = line.split_once('=')
        {
            // A comment may follow a value after a space.
            let value = value.split(" #").next().unwrap_or_default();
            let value = value.split(" ;").next().unwrap_or_default();
            settings
                .get_or_insert_default()
                .insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    settings
}

/// The settings of a profile in a file; `None` if there is no such file or profile.
///
/// # Errors
/// Why the file can't be read.
pub(super) fn read(path: &Path, profile: &str) -> Result<Option<Profile>, String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(find(&String::from_utf8_lossy(&bytes), profile))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# mine\n[default]\nregion = eu-west-1 # Ireland\n s3 =\n  a = b\n[profile ops]\n\
                        AWS_ACCESS_KEY_ID=AKIA1\naws_secret_access_key = a=b+/\n[other]\nregion=x\n[ops]\nregion = us-east-1\n";

    #[test]
    fn a_profile_is_found_in_both_ways_of_writing() {
        let default = find(TEXT, "default").expect("there");
        assert_eq!(default.get("region").map(String::as_str), Some("eu-west-1"));
        assert_eq!(default.len(), 1, "nested settings are others': {default:?}");
        let ops = find(TEXT, "ops").expect("there");
        let get = |name: &str| ops.get(name).map(String::as_str);
        assert_eq!(get("aws_access_key_id"), Some("AKIA1"));
        assert_eq!(get("aws_secret_access_key"), Some("a=b+/"));
        assert_eq!(get("region"), Some("us-east-1"));
        assert_eq!(find(TEXT, "nobody"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]a-c =#;\n\tprofile]{0,120}") {
            let _ = find(&text, "a");
        }
    }
}
