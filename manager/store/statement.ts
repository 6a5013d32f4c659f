/** A prepared statement whose rows have a known shape. Tables are STRICT, so a column holds what it declares. */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";

/** By the names they have in the SQL, `:name`; undefined is NULL. */
type Parameters = Record<string, SQLInputValue | undefined>;

export class Statement<Row = never> {
  readonly #statement: StatementSync;

  constructor(database: DatabaseSync, sql: string) {
    this.#statement = database.prepare(sql);
  }

  all(parameters: Parameters = {}): Row[] {
    return this.#statement.all(bindable(parameters)) as Row[];
  }

  first(parameters: Parameters = {}): Row | undefined {
    return this.#statement.get(bindable(parameters)) as Row | undefined;
  }

  /** Row by row, for who may want no more after some. */
  each(parameters: Parameters = {}): Iterable<Row> {
    return this.#statement.iterate(bindable(parameters)) as Iterable<Row>;
  }

  /** The key of the row that it inserted. */
  insert(parameters: Parameters): number {
    return Number(this.#statement.run(bindable(parameters)).lastInsertRowid);
  }

  /** How many rows it changed. */
  run(parameters: Parameters = {}): number {
    return Number(this.#statement.run(bindable(parameters)).changes);
  }
}

function bindable(parameters: Parameters): Record<string, SQLInputValue> {
  const bound: Record<string, SQLInputValue> = {};
  for (const name in parameters) bound[name] = parameters[name] ?? null;
  return bound;
}
