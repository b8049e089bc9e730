//! Tests of what is on record of nodes.

use proptest::prelude::*;

use super::*;

fn op(number: u64) -> OperationId {
    OperationId::derive("c", "g", "m", number, "provision")
}

fn holder(number: u64) -> Holder {
    Holder {
        id: id_for("n1", &op(number)).expect("valid"),
        ops: vec![op(number)],
        tags: Tags::from_iter([("a", "größe"), ("b", "")]),
        made_ms: 5,
        phase: Phase::On,
        may_start_until_ms: 7,
        is_pet: true,
        is_held_off: true,
    }
}

fn book(entry: Option<Entry>) -> Book {
    Book {
        revision: 1,
        nodes: BTreeMap::from([("n1".to_owned(), entry)]),
    }
}

#[test]
fn an_entry_survives_its_text() {
    let entry = Entry {
        holder: Some(holder(1)),
        wipe: Some(Wipe::Seen { at_ms: 3 }),
        quarantine: Some(Remark {
            why: "it \"fails\"".into(),
            at_ms: 9,
        }),
        trouble: None,
        past: vec![],
    };
    let entries = BTreeMap::from([("n1".to_owned(), entry.to_text())]);
    let table = Table {
        revision: 4,
        entries,
    };
    assert_eq!(Book::read(table).entry("n1"), Some(entry));
}

#[test]
fn what_is_on_record_is_found_by_id_and_by_operation_also_when_it_has_gone() {
    let mut entry = Entry {
        holder: Some(holder(1)),
        ..Entry::default()
    };
    let id = holder(1).id;
    assert!(matches!(
        book(Some(entry.clone())).by_id(&id),
        Some(Found::Held("n1", _))
    ));
    entry.free();
    assert!(entry.is_held_off(), "it was off last");
    let mut wiped = entry.clone();
    wiped.runs_again();
    assert!(!wiped.is_held_off(), "it has run since");
    entry.holder = Some(holder(2));
    let book = book(Some(entry));
    assert!(matches!(book.by_id(&id), Some(Found::Past("n1", _))));
    assert!(matches!(
        book.by_operation(&op(1)),
        Some(Found::Past("n1", _))
    ));
    assert!(matches!(
        book.by_operation(&op(2)),
        Some(Found::Held("n1", _))
    ));
    assert_eq!(book.by_operation(&op(3)), None);
}

#[test]
fn an_entry_that_cannot_be_read_is_nobodys() {
    let table = Table {
        revision: 1,
        entries: BTreeMap::from([("n1".to_owned(), "{\"holder\": 5}".to_owned())]),
    };
    let book = Book::read(table);
    assert_eq!(book.entry("n1"), None);
    assert_eq!(book.entry("n2"), Some(Entry::default()));
}

#[test]
fn the_longest_entry_fits_into_the_ledger() {
    let mut entry = Entry {
        quarantine: Some(Remark::new(&"\"".repeat(5000), u64::MAX)),
        trouble: Some(Remark::new(&"\"".repeat(5000), u64::MAX)),
        ..Entry::default()
    };
    for life in 0..2 * PAST_MAX as u64 {
        entry.holder = Some(holder(100 * life));
        for reimage in 0..2 * OPERATIONS_MAX as u64 {
            let last = entry.holder.as_mut().expect("there");
            last.reimaged(&op(100 * life + reimage + 1), Tags::new());
        }
        let made = op(100 * life);
        assert!(entry.holder.as_ref().expect("there").ops.contains(&made));
        entry.free();
    }
    assert_eq!(entry.past.len(), PAST_MAX);
    let size = entry.to_text().len();
    assert!(
        size < Table::VALUE_BYTES_MAX - 1024,
        "{size} bytes leave no room for tags"
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let entries = BTreeMap::from([("n1".to_owned(), text)]);
        let _ = Book::read(Table { revision: 0, entries }).entry("n1");
    }
}
