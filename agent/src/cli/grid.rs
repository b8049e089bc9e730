//! Tables without lines: a heading, columns, and colours where something wants attention.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};

use super::output::{Paint, Tone, clean};

/// A table that is being filled.
pub(crate) struct Grid {
    table: Table,
    rows: usize,
}

impl Grid {
    /// A table with these headings.
    pub(crate) fn new(paint: Paint, headings: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        if paint.is_on() {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let heading = |text: &&str| Cell::new(text).add_attribute(Attribute::Dim);
        table.set_header(headings.iter().map(heading).collect::<Vec<_>>());
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self { table, rows: 0 }
    }

    /// Aligns a column to the right, as numbers are.
    pub(crate) fn right(mut self, column: usize) -> Self {
        if let Some(column) = self.table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self
    }

    /// Adds a row. Texts may come from anywhere.
    pub(crate) fn row<const N: usize>(&mut self, cells: [(Tone, String); N]) {
        let cells = cells.map(|(tone, text)| {
            let cell = Cell::new(clean(&text));
            match tone {
                Tone::Plain => cell,
                Tone::Bold => cell.add_attribute(Attribute::Bold),
                Tone::Dim => cell.add_attribute(Attribute::Dim),
                Tone::Good => cell.fg(Color::Green),
                Tone::Warn => cell.fg(Color::Yellow),
                Tone::Bad => cell.fg(Color::Red),
            }
        });
        self.table.add_row(Vec::from(cells));
        self.rows += 1;
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The table as lines, or `instead` where there are no rows.
    pub(crate) fn render(&self, instead: &str) -> String {
        if self.is_empty() {
            format!("{instead}\n")
        } else {
            format!("{}\n", self.table.trim_fmt())
        }
    }
}

/// A cell in the usual tone.
pub(crate) fn plain(text: impl ToString) -> (Tone, String) {
    (Tone::Plain, text.to_string())
}

/// A cell that stands back.
pub(crate) fn dim(text: impl ToString) -> (Tone, String) {
    (Tone::Dim, text.to_string())
}

/// A cell that names something.
pub(crate) fn bold(text: impl ToString) -> (Tone, String) {
    (Tone::Bold, text.to_string())
}

/// A cell for something that may not be known.
pub(crate) fn maybe(text: Option<impl ToString>) -> (Tone, String) {
    match text {
        Some(text) => plain(text),
        None => dim("-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut grid = Grid::new(Paint::default(), &["NAME", "AGE"]).right(1);
        grid.row([bold("web-1"), plain("3s")]);
        grid.row([bold("a-long-name"), plain("12s")]);
        assert_eq!(
            grid.render(""),
            "NAME         AGE\nweb-1         3s\na-long-name  12s\n"
        );
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(
            Grid::new(Paint::default(), &["A"]).render("no groups yet"),
            "no groups yet\n"
        );
    }
}
