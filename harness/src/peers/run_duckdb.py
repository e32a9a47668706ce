# Runs queries in DuckDB over Parquet files. One JSON object a line comes in on standard input, one goes out for each.
import json
import signal
import sys
import time

import duckdb


# Ctrl-C is for the program that asks: it ends this one.
signal.signal(signal.SIGINT, signal.SIG_IGN)


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def text(value):
    return "'" + value.replace("'", "''") + "'"


def open_tables(request):
    connection = duckdb.connect(config={"threads": request["threads"]})
    # Columns and paths as they are, times without a zone of this machine.
    connection.execute("SET TimeZone = 'UTC'")
    if request["cold"]:
        # It would keep the files in memory of its own.
        connection.execute("SET enable_external_file_cache = false")
    for name, files in request["tables"].items():
        listed = ", ".join(text(file) for file in files)
        kind = "TABLE" if request["load"] else "VIEW"
        connection.execute(f"CREATE {kind} {quoted(name)} AS SELECT * FROM read_parquet([{listed}])")
    # Loaded tables have their statistics by now; ANALYZE without a table does nothing.
    return connection


def milliseconds(since):
    return (time.perf_counter() - since) * 1e3


def run(connection, request):
    """Runs all statements; the last one that returns rows is the result. Its plan is explained in an execution of its own."""
    cursor = connection.cursor()
    answer = {"planning_ms": 0.0, "execution_ms": 0.0}
    for statement in cursor.extract_statements(request["sql"]):
        sql = statement.query
        is_query = statement.type.name == "SELECT"
        started = time.perf_counter()
        rows = cursor.execute(sql).fetchall()
        answer["execution_ms"] += milliseconds(started)
        if is_query:
            answer["rows"] = len(rows)
            # Afterwards, so that nothing is warm for the run that is timed.
            started = time.perf_counter()
            cursor.execute("EXPLAIN " + sql).fetchall()
            answer["planning_ms"] += milliseconds(started)
            if request["explain"]:
                plan = cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + sql).fetchall()
                answer["plan"] = json.loads(plan[0][1])
    # What ran has planned as well: that time is not counted twice.
    answer["planning_ms"] = min(answer["planning_ms"], answer["execution_ms"])
    answer["execution_ms"] -= answer["planning_ms"]
    return answer


def estimate(connection, request):
    """The plan of a query; it runs only if that is asked for. Copies of tables are made once, those of files are views."""
    for name, of in request.get("copies", {}).items():
        if isinstance(of, list):
            listed = ", ".join(text(file) for file in of)
            connection.execute(f"CREATE VIEW IF NOT EXISTS {quoted(name)} AS SELECT * FROM read_parquet([{listed}])")
        else:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {quoted(name)} AS SELECT * FROM {quoted(of)}")
    how = "ANALYZE, FORMAT JSON" if request.get("run") else "FORMAT JSON"
    plan = connection.execute(f"EXPLAIN ({how}) " + request["estimate"]).fetchall()
    return {"plan": json.loads(plan[0][1])}


def main():
    connection = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if connection is None:
                connection = open_tables(request)
                answer = {"version": duckdb.__version__}
            elif "estimate" in request:
                answer = estimate(connection, request)
            else:
                answer = run(connection, request)
        except Exception as error:
            answer = {"error": str(error).strip().split("\n")[0]}
        print(json.dumps(answer), flush=True)


main()
