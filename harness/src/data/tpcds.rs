//! The 24 tables of TPC-DS.

use anyhow::{Result, anyhow};
use arrow::record_batch::RecordBatchReader;
use tpcdsgen::config::{Session, SessionBuilder, Table};
use tpcdsgen_arrow::{
    CallCenterArrow, CatalogPageArrow, CatalogReturnsArrow, CatalogSalesArrow,
    CustomerAddressArrow, CustomerArrow, CustomerDemographicsArrow, DateDimArrow,
    HouseholdDemographicsArrow, IncomeBandArrow, InventoryArrow, ItemArrow, PromotionArrow,
    ReasonArrow, ShipModeArrow, StoreArrow, StoreReturnsArrow, StoreSalesArrow, TimeDimArrow,
    WarehouseArrow, WebPageArrow, WebReturnsArrow, WebSalesArrow, WebSiteArrow,
};

use super::Recipe;

/// Of each table, the columns with spaces between them (TPC-DS 3.2.0, 2.3 and 2.4).
pub(super) const PRIMARY_KEYS: [(&str, &str); 24] = [
    ("call_center", "cc_call_center_sk"),
    ("catalog_page", "cp_catalog_page_sk"),
    ("catalog_returns", "cr_item_sk cr_order_number"),
    ("catalog_sales", "cs_item_sk cs_order_number"),
    ("customer", "c_customer_sk"),
    ("customer_address", "ca_address_sk"),
    ("customer_demographics", "cd_demo_sk"),
    ("date_dim", "d_date_sk"),
    ("household_demographics", "hd_demo_sk"),
    ("income_band", "ib_income_band_sk"),
    ("inventory", "inv_date_sk inv_item_sk inv_warehouse_sk"),
    ("item", "i_item_sk"),
    ("promotion", "p_promo_sk"),
    ("reason", "r_reason_sk"),
    ("ship_mode", "sm_ship_mode_sk"),
    ("store", "s_store_sk"),
    ("store_returns", "sr_item_sk sr_ticket_number"),
    ("store_sales", "ss_item_sk ss_ticket_number"),
    ("time_dim", "t_time_sk"),
    ("warehouse", "w_warehouse_sk"),
    ("web_page", "wp_web_page_sk"),
    ("web_returns", "wr_item_sk wr_order_number"),
    ("web_sales", "ws_item_sk ws_order_number"),
    ("web_site", "web_site_sk"),
];

/// How to make each table at a scale factor.
pub(super) fn recipes(scale: f64) -> Result<Vec<Recipe>> {
    let session = SessionBuilder::new()
        .with_scale_factor(scale)
        .build()
        .map_err(|error| anyhow!("TPC-DS at scale {scale}: {error}"))?;
    let recipe = |table: Table, make: fn(Session) -> Box<dyn RecordBatchReader>| {
        let session = session.clone();
        Recipe {
            table: table.get_name(),
            expected_rows: session.get_scaling().get_row_count(table) * lines_of_an_order(table),
            make: Box::new(move || make(session)),
        }
    };
    macro_rules! tables {
        ($($table:ident => $reader:ident),* $(,)?) => {
            vec![$(recipe(Table::$table, |session| Box::new($reader::new(session)))),*]
        };
    }
    Ok(tables![
        CallCenter => CallCenterArrow,
        CatalogPage => CatalogPageArrow,
        CatalogReturns => CatalogReturnsArrow,
        CatalogSales => CatalogSalesArrow,
        Customer => CustomerArrow,
        CustomerAddress => CustomerAddressArrow,
        CustomerDemographics => CustomerDemographicsArrow,
        DateDim => DateDimArrow,
        HouseholdDemographics => HouseholdDemographicsArrow,
        IncomeBand => IncomeBandArrow,
        Inventory => InventoryArrow,
        Item => ItemArrow,
        Promotion => PromotionArrow,
        Reason => ReasonArrow,
        ShipMode => ShipModeArrow,
        Store => StoreArrow,
        StoreReturns => StoreReturnsArrow,
        StoreSales => StoreSalesArrow,
        TimeDim => TimeDimArrow,
        Warehouse => WarehouseArrow,
        WebPage => WebPageArrow,
        WebReturns => WebReturnsArrow,
        WebSales => WebSalesArrow,
        WebSite => WebSiteArrow,
    ])
}

/// The generator counts sales by orders; this is how many rows an order has on average.
fn lines_of_an_order(table: Table) -> u64 {
    match table {
        Table::StoreSales | Table::WebSales => 12,
        Table::CatalogSales => 9,
        _ => 1,
    }
}
