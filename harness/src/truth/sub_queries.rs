//! The sub-plans of a query as SQL: `SELECT 1 FROM` some of its relations with the predicates that concern them alone, in the words of
//! the query, so that other systems can be asked for their estimates.
//!
//! Of `a.x = b.x AND b.x = c.x AND c.y > 1` the sub-plan `a+c` has `c.y > 1` and, since it is implied, `a.x = c.x`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use anyhow::{Result, bail};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, JoinConstraint, JoinOperator, Query as SqlQuery, SetExpr,
    Statement as SqlStatement, TableAlias, TableFactor, TableWithJoins, visit_expressions,
};

use crate::measure::parse;

/// Names of columns by table.
pub(crate) type Columns = BTreeMap<String, Vec<String>>;

/// The relations and predicates of one query.
#[derive(Debug)]
pub(crate) struct SubQueries {
    query: SqlQuery,
    /// In the order of the query: PostgreSQL's estimates depend on it.
    relations: Vec<Relation>,
    predicates: Vec<Predicate>,
    /// Columns that are equal by written predicates, or by several of them: with the alias of each.
    classes: Vec<BTreeSet<Column>>,
}

/// A relation of FROM.
#[derive(Debug)]
pub(crate) struct Relation {
    /// In lower case.
    pub(crate) alias: String,
    pub(crate) table: String,
    /// What predicates call it.
    name: Ident,
    /// What FROM says of it.
    text: String,
}

/// A column: the alias of its relation in lower case, and its text.
type Column = (String, String);

#[derive(Debug)]
struct Predicate {
    aliases: BTreeSet<String>,
    text: String,
    /// The two columns that it finds equal, if that is all it does.
    equal: Option<(Column, Column)>,
}

impl SubQueries {
    /// Takes a query apart: one SELECT of inner joins between tables, with no sub-query that restricts them.
    pub(crate) fn parse(sql: &str, columns: &Columns) -> Result<Self> {
        let mut statements = parse(sql)?;
        let (Some(Statement::Statement(statement)), true) =
            (statements.pop(), statements.is_empty())
        else {
            bail!("it is not one query");
        };
        let SqlStatement::Query(query) = *statement else {
            bail!("it is not a query");
        };
        let SetExpr::Select(select) = query.body.as_ref() else {
            bail!("it is not one SELECT");
        };
        if query.with.is_some() {
            bail!("it has a common table expression");
        }
        let mut relations = vec![];
        let mut tables = BTreeMap::new();
        let mut conjuncts = vec![];
        let mut add = |factor: &TableFactor| {
            let TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } = factor
            else {
                bail!("`{factor}` is not a table");
            };
            let table = name.0.last().and_then(|part| part.as_ident());
            let table = table.map_or_else(|| name.to_string(), |table| table.value.clone());
            let own = name.0.last().and_then(|part| part.as_ident());
            let own = own.cloned().unwrap_or_else(|| Ident::new(&table));
            let called = alias.as_ref().map_or(own, |alias| alias.name.clone());
            let alias = alias.as_ref().map_or(&table, |alias| &alias.name.value);
            let alias = alias.to_lowercase();
            if tables.insert(alias.clone(), table.clone()).is_some() {
                bail!("it has two relations `{alias}`");
            }
            relations.push(Relation {
                alias,
                table,
                name: called,
                text: factor.to_string(),
            });
            Ok(())
        };
        for item in &select.from {
            add(&item.relation)?;
            for join in &item.joins {
                add(&join.relation)?;
                match &join.join_operator {
                    JoinOperator::Join(JoinConstraint::On(on))
                    | JoinOperator::Inner(JoinConstraint::On(on)) => split(on, &mut conjuncts),
                    JoinOperator::CrossJoin(JoinConstraint::None) => {}
                    _ => bail!("it has a join other than JOIN … ON"),
                }
            }
        }
        if let Some(selection) = &select.selection {
            split(selection, &mut conjuncts);
        }
        let scope = Scope { tables, columns };
        let predicates = conjuncts.into_iter().map(|expr| scope.predicate(expr));
        let predicates = predicates.collect::<Result<Vec<_>>>()?;
        Ok(Self {
            classes: classes(&predicates),
            query: *query,
            relations,
            predicates,
        })
    }

    /// The query of the relations that `sub_plan` names, joined by `+`; `None` if it is none of this query.
    pub(crate) fn sql(&self, sub_plan: &str) -> Option<String> {
        let aliases: BTreeSet<String> = sub_plan.split('+').map(str::to_lowercase).collect();
        let named = self.relations.iter();
        let named = named.filter(|relation| aliases.contains(&relation.alias));
        let relations: Vec<&str> = named.map(|relation| relation.text.as_str()).collect();
        (relations.len() == aliases.len()).then(|| self.select(&relations, &aliases))
    }

    /// All relations, in the order of the query.
    pub(crate) fn relations(&self) -> &[Relation] {
        &self.relations
    }

    /// The query itself, where each relation is read from the table that `table_of` names.
    pub(crate) fn over(&self, table_of: impl Fn(&Relation) -> String) -> String {
        let mut query = self.query.clone();
        if let SetExpr::Select(select) = query.body.as_mut() {
            let factors = select.from.iter_mut().flat_map(factors);
            for (factor, relation) in factors.zip(&self.relations) {
                if let TableFactor::Table { name, alias, .. } = factor {
                    let called = || TableAlias {
                        explicit: true,
                        name: relation.name.clone(),
                        columns: vec![],
                        at: None,
                    };
                    alias.get_or_insert_with(called);
                    *name = vec![Ident::with_quote('"', table_of(relation))].into();
                }
            }
        }
        query.to_string()
    }

    /// A query of some relations, by what FROM is to say of them.
    fn select(&self, from: &[&str], aliases: &BTreeSet<String>) -> String {
        let inside = |predicate: &&Predicate| predicate.aliases.is_subset(aliases);
        let written: Vec<&Predicate> = self.predicates.iter().filter(inside).collect();
        let mut conjuncts: Vec<String> = written.iter().map(|p| p.text.clone()).collect();
        for class in &self.classes {
            conjuncts.extend(implied(class, aliases, &written));
        }
        let mut sql = format!("SELECT 1 FROM {}", from.join(", "));
        if !conjuncts.is_empty() {
            sql.push_str(&format!(" WHERE {}", conjuncts.join(" AND ")));
        }
        sql
    }
}

/// What a part of FROM joins, in the order of the text.
fn factors(from: &mut TableWithJoins) -> impl Iterator<Item = &mut TableFactor> {
    let joins = from.joins.iter_mut().map(|join| &mut join.relation);
    std::iter::once(&mut from.relation).chain(joins)
}

/// The equalities that hold between columns of a class though no written one inside says so.
fn implied(
    class: &BTreeSet<Column>,
    aliases: &BTreeSet<String>,
    written: &[&Predicate],
) -> Vec<String> {
    let members = class.iter().filter(|member| aliases.contains(&member.0));
    let mut groups: Vec<BTreeSet<&Column>> =
        members.map(|member| BTreeSet::from([member])).collect();
    for predicate in written {
        if let Some((left, right)) = &predicate.equal
            && class.contains(left)
        {
            unite(&mut groups, left, right);
        }
    }
    let firsts: Vec<&Column> = groups
        .iter()
        .filter_map(|group| group.first().copied())
        .collect();
    let pairs = firsts.windows(2);
    pairs
        .map(|pair| format!("{} = {}", pair[0].1, pair[1].1))
        .collect()
}

/// Makes the groups of two columns one.
fn unite(groups: &mut Vec<BTreeSet<&Column>>, left: &Column, right: &Column) {
    let place = |groups: &Vec<BTreeSet<&Column>>, column: &Column| {
        groups.iter().position(|group| group.contains(column))
    };
    if let (Some(a), Some(b)) = (place(groups, left), place(groups, right))
        && a != b
    {
        let group = groups.swap_remove(a.max(b));
        groups[a.min(b)].extend(group);
    }
}

fn classes(predicates: &[Predicate]) -> Vec<BTreeSet<Column>> {
    let equal: Vec<&(Column, Column)> =
        predicates.iter().filter_map(|p| p.equal.as_ref()).collect();
    let members: BTreeSet<&Column> = equal.iter().flat_map(|(a, b)| [a, b]).collect();
    let mut groups: Vec<BTreeSet<&Column>> =
        members.into_iter().map(|m| BTreeSet::from([m])).collect();
    for (left, right) in equal {
        unite(&mut groups, left, right);
    }
    let owned = |group: BTreeSet<&Column>| group.into_iter().cloned().collect();
    groups.into_iter().map(owned).collect()
}

/// Takes conjunctions apart.
fn split<'a>(expr: &'a Expr, conjuncts: &mut Vec<&'a Expr>) {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            split(left, conjuncts);
            split(right, conjuncts);
        }
        Expr::Nested(inner) => match inner.as_ref() {
            Expr::BinaryOp {
                op: BinaryOperator::And,
                ..
            } => split(inner, conjuncts),
            _ => conjuncts.push(expr),
        },
        other => conjuncts.push(other),
    }
}

/// What names mean.
struct Scope<'a> {
    /// Tables by alias.
    tables: BTreeMap<String, String>,
    columns: &'a Columns,
}

impl Scope<'_> {
    fn predicate(&self, expr: &Expr) -> Result<Predicate> {
        let mut aliases = BTreeSet::new();
        let mut fault = None;
        let _ = visit_expressions(expr, |part| {
            let alias = match part {
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                    fault = Some("it has a sub-query in a predicate".to_owned());
                    return ControlFlow::Break(());
                }
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.alias(part),
                _ => return ControlFlow::Continue(()),
            };
            match alias {
                Some(alias) => drop(aliases.insert(alias)),
                None => fault = Some(format!("`{part}` is a column of no table in FROM")),
            }
            ControlFlow::Continue(())
        });
        if let Some(fault) = fault {
            bail!("{fault}");
        }
        let text = match expr {
            // Its parts bind less than the AND that will join it to others.
            Expr::BinaryOp {
                op: BinaryOperator::Or,
                ..
            } => format!("({expr})"),
            other => other.to_string(),
        };
        let equal = match expr {
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } if aliases.len() == 2 => self.column(left).zip(self.column(right)),
            _ => None,
        };
        Ok(Predicate {
            aliases,
            text,
            equal,
        })
    }

    fn column(&self, expr: &Expr) -> Option<Column> {
        Some((self.alias(expr)?, expr.to_string()))
    }

    /// The relation of a column.
    fn alias(&self, column: &Expr) -> Option<String> {
        let of_table = |name: &Ident, table: &str| {
            let columns = self.columns.iter();
            let own = columns.filter(|(other, _)| other.eq_ignore_ascii_case(table));
            own.flat_map(|(_, columns)| columns)
                .any(|column| column.eq_ignore_ascii_case(&name.value))
        };
        match column {
            Expr::CompoundIdentifier(parts) => {
                let alias = parts.get(parts.len().checked_sub(2)?)?;
                let alias = alias.value.to_lowercase();
                self.tables.contains_key(&alias).then_some(alias)
            }
            Expr::Identifier(name) => {
                let mut tables = self.tables.iter();
                let found = tables.find(|(_, table)| of_table(name, table));
                found.map(|(alias, _)| alias.clone())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Columns {
        let columns = |names: &str| names.split(' ').map(str::to_owned).collect();
        BTreeMap::from([
            ("t".to_owned(), columns("x y")),
            ("U".to_owned(), columns("Z w")),
        ])
    }

    fn sub_plan(sql: &str, name: &str) -> Option<String> {
        SubQueries::parse(sql, &columns()).unwrap().sql(name)
    }

    #[test]
    fn predicates_go_with_their_relations() {
        let sql = "SELECT min(a.x) FROM t AS a, t b JOIN t c ON b.x = c.x
                   WHERE (a.x = b.x AND (c.y > 1 OR c.y IS NULL)) AND a.y + b.y < 3 AND a.y LIKE 'x%' GROUP BY a.y";
        let parts = ["a", "a+b", "a+c", "c", "a+b+c"].map(|name| sub_plan(sql, name).unwrap());
        insta::assert_snapshot!(parts.join("\n"), @r"
        SELECT 1 FROM t AS a WHERE a.y LIKE 'x%'
        SELECT 1 FROM t AS a, t b WHERE a.x = b.x AND a.y + b.y < 3 AND a.y LIKE 'x%'
        SELECT 1 FROM t AS a, t c WHERE (c.y > 1 OR c.y IS NULL) AND a.y LIKE 'x%' AND a.x = c.x
        SELECT 1 FROM t c WHERE (c.y > 1 OR c.y IS NULL)
        SELECT 1 FROM t AS a, t b, t c WHERE b.x = c.x AND a.x = b.x AND (c.y > 1 OR c.y IS NULL) AND a.y + b.y < 3 AND a.y LIKE 'x%'
        ");
        assert_eq!(sub_plan(sql, "a+d"), None);
    }

    /// Equalities within a class are written where they are not said already, and no more of them than needed.
    #[test]
    fn implied_equalities_connect() {
        let sql = "SELECT * FROM t a, t b, t c, t d WHERE a.x = b.x AND b.x = c.x AND c.x = d.x AND a.y = d.y";
        assert_eq!(
            sub_plan(sql, "a+c+d").unwrap(),
            "SELECT 1 FROM t a, t c, t d WHERE c.x = d.x AND a.y = d.y AND a.x = c.x"
        );
    }

    #[test]
    fn columns_without_a_table_are_found() {
        let sql = "SELECT * FROM t, U WHERE x = z AND W > 1 AND y = 2";
        let both = "SELECT 1 FROM t, U WHERE x = z AND W > 1 AND y = 2";
        assert_eq!(sub_plan(sql, "U+t").unwrap(), both);
        assert_eq!(sub_plan(sql, "U").unwrap(), "SELECT 1 FROM U WHERE W > 1");
    }

    #[test]
    fn relations_may_be_read_from_elsewhere() {
        let sql =
            "SELECT min(a.x) FROM t a JOIN t \"B\" ON a.x = \"B\".x, U WHERE U.z = a.y LIMIT 1";
        let query = SubQueries::parse(sql, &columns()).unwrap();
        let table = |relation: &Relation| format!("{}_{}", relation.table, relation.alias);
        assert_eq!(
            query.over(table),
            r#"SELECT min(a.x) FROM "t_a" a JOIN "t_b" "B" ON a.x = "B".x, "U_u" AS U WHERE U.z = a.y LIMIT 1"#
        );
    }

    #[test]
    fn other_queries_are_refused() {
        for (sql, why) in [
            ("SELECT 1; SELECT 2", "not one query"),
            ("SELECT * FROM t UNION SELECT * FROM t", "not one SELECT"),
            ("WITH v AS (SELECT 1) SELECT * FROM v", "common table"),
            (
                "SELECT * FROM t a LEFT JOIN t b ON a.x = b.x",
                "a join other",
            ),
            ("SELECT * FROM (SELECT 1) q", "not a table"),
            ("SELECT * FROM t WHERE EXISTS (SELECT 1)", "a sub-query"),
            ("SELECT * FROM t WHERE q = 1", "`q`"),
            ("SELECT * FROM t, t", "two relations"),
        ] {
            let error = SubQueries::parse(sql, &columns()).unwrap_err().to_string();
            assert!(error.contains(why), "{sql}: {error}");
        }
    }
}
