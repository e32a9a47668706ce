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
