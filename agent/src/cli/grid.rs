//! Tables without lines: a heading, columns, and colours where something wants attention.

use comfy_table::presets::NOTHING;
use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table,
};

use super::output::{Paint, Tone, clean};

/// The last column is wrapped where it has so much room at least; a narrower one is harder to read than broken lines.
const LAST_WIDTH_MIN: u16 = 16;

/// Columns are apart by so much.
const GAP: u16 = 2;

/// A table that is being filled.
pub(crate) struct Grid {
    table: Table,
    rows: usize,
    width: Option<u16>,
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
            column.set_padding((0, GAP));
        }
        Self {
            table,
            rows: 0,
            width: paint.width(),
        }
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
            format!("{}\n", self.fitted().trim_fmt())
        }
    }

    /// The table with its last column wrapped, where it is wider than the terminal and that helps.
    fn fitted(&self) -> Table {
        let mut table = self.table.clone();
        let widths = table.column_max_content_widths();
        let Some((last, others)) = widths.split_last() else {
            return table;
        };
        let others = others.iter().map(|width| width.saturating_add(GAP));
        let others = others.fold(0, u16::saturating_add);
        let whole = others.saturating_add(*last);
        let fits = |width: &u16| whole <= *width || others.saturating_add(LAST_WIDTH_MIN) > *width;
        let Some(width) = self.width.filter(|width| !fits(width)) else {
            return table;
        };
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
        let count = widths.len();
        for column in table.column_iter_mut().take(count - 1) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        if let Some(column) = table.column_mut(count - 1) {
            column.set_padding((0, 0));
        }
        table
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
    fn the_last_column_is_wrapped_to_the_terminal_and_never_squeezed() {
        let why = "2 of 4 machines answered, and 3 are needed for anything to be decided";
        let render = |width| {
            let paint = Paint::default().within(Some(width));
            let mut grid = Grid::new(paint, &["RULE", "MARGIN"]);
            grid.row([bold("quorum"), plain(why)]);
            grid.render("")
        };
        let lines = |width| render(width).lines().count();
        assert_eq!((lines(80), lines(60)), (2, 3));
        assert!(render(60).lines().all(|line| line.chars().count() <= 60));
        assert_eq!(
            render(40).lines().nth(2),
            Some("        are needed for anything to be")
        );
        assert_eq!(lines(20), 2, "that would be too narrow to be read");
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(
            Grid::new(Paint::default(), &["A"]).render("no groups yet"),
            "no groups yet\n"
        );
    }
}
