//! The tables of the Join Order Benchmark, after its schema.

use super::{Column, Table, int, key, text};

pub(super) const TABLES: &[Table] = &[
    table("aka_name", AKA_NAME),
    table("aka_title", AKA_TITLE),
    table("cast_info", CAST_INFO),
    table("char_name", CHAR_NAME),
    table("comp_cast_type", COMP_CAST_TYPE),
    table("company_name", COMPANY_NAME),
    table("company_type", COMPANY_TYPE),
    table("complete_cast", COMPLETE_CAST),
    table("info_type", INFO_TYPE),
    table("keyword", KEYWORD),
    table("kind_type", KIND_TYPE),
    table("link_type", LINK_TYPE),
    table("movie_companies", MOVIE_COMPANIES),
    table("movie_info", MOVIE_INFO),
    table("movie_info_idx", MOVIE_INFO_IDX),
    table("movie_keyword", MOVIE_KEYWORD),
    table("movie_link", MOVIE_LINK),
    table("name", NAME),
    table("person_info", PERSON_INFO),
    table("role_type", ROLE_TYPE),
    table("title", TITLE),
];

const fn table(name: &'static str, columns: &'static [Column]) -> Table {
    Table { name, columns }
}

const AKA_NAME: &[Column] = &[
    int("id"),
    key("person_id", "name.id"),
    text("name"),
    text("imdb_index"),
    text("name_pcode_cf"),
    text("name_pcode_nf"),
    text("surname_pcode"),
    text("md5sum"),
];

const AKA_TITLE: &[Column] = &[
    int("id"),
    key("movie_id", "title.id"),
    text("title"),
    text("imdb_index"),
    key("kind_id", "kind_type.id"),
    int("production_year"),
    text("phonetic_code"),
    int("episode_of_id"),
    int("season_nr"),
    int("episode_nr"),
    text("note"),
    text("md5sum"),
];

const CAST_INFO: &[Column] = &[
    int("id"),
    key("person_id", "name.id"),
    key("movie_id", "title.id"),
    key("person_role_id", "char_name.id"),
    text("note"),
    int("nr_order"),
    key("role_id", "role_type.id"),
];

const CHAR_NAME: &[Column] = &[
    int("id"),
    text("name"),
    text("imdb_index"),
    int("imdb_id"),
    text("name_pcode_nf"),
    text("surname_pcode"),
    text("md5sum"),
];

const COMP_CAST_TYPE: &[Column] = &[int("id"), text("kind")];

const COMPANY_NAME: &[Column] = &[
    int("id"),
    text("name"),
    text("country_code"),
    int("imdb_id"),
    text("name_pcode_nf"),
    text("name_pcode_sf"),
    text("md5sum"),
];

const COMPANY_TYPE: &[Column] = &[int("id"), text("kind")];

const COMPLETE_CAST: &[Column] = &[
    int("id"),
    key("movie_id", "title.id"),
    key("subject_id", "comp_cast_type.id"),
    key("status_id", "comp_cast_type.id"),
];

const INFO_TYPE: &[Column] = &[int("id"), text("info")];

const KEYWORD: &[Column] = &[int("id"), text("keyword"), text("phonetic_code")];

const KIND_TYPE: &[Column] = &[int("id"), text("kind")];

const LINK_TYPE: &[Column] = &[int("id"), text("link")];

const MOVIE_COMPANIES: &[Column] = &[
    int("id"),
    key("movie_id", "title.id"),
    key("company_id", "company_name.id"),
    key("company_type_id", "company_type.id"),
    text("note"),
];

const MOVIE_INFO: &[Column] = &[
    int("id"),
    key("movie_id", "title.id"),
    key("info_type_id", "info_type.id"),
    text("info"),
    text("note"),
];

const MOVIE_INFO_IDX: &[Column] = &[
    int("id"),
    key("movie_id", "title.id"),
    key("info_type_id", "info_type.id"),
    text("info"),
    text("note"),
];

const MOVIE_KEYWORD: &[Column] = &[
    int("id"),
    key("movie_id", "title.id"),
    key("keyword_id", "keyword.id"),
];

const MOVIE_LINK: &[Column] = &[
    int("id"),
    key("movie_id", "title.id"),
    key("linked_movie_id", "title.id"),
    key("link_type_id", "link_type.id"),
];

const NAME: &[Column] = &[
    int("id"),
    text("name"),
    text("imdb_index"),
    int("imdb_id"),
    text("gender"),
    text("name_pcode_cf"),
    text("name_pcode_nf"),
    text("surname_pcode"),
    text("md5sum"),
];

const PERSON_INFO: &[Column] = &[
    int("id"),
    key("person_id", "name.id"),
    key("info_type_id", "info_type.id"),
    text("info"),
    text("note"),
];

const ROLE_TYPE: &[Column] = &[int("id"), text("role")];

const TITLE: &[Column] = &[
    int("id"),
    text("title"),
    text("imdb_index"),
    key("kind_id", "kind_type.id"),
    int("production_year"),
    int("imdb_id"),
    text("phonetic_code"),
    key("episode_of_id", "title.id"),
    int("season_nr"),
    int("episode_nr"),
    text("series_years"),
    text("md5sum"),
];
