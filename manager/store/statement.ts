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

  /** How many rows it changed. */
  run(parameters: Parameters = {}): number {
    return Number(this.#statement.run(bindable(parameters)).changes);
  }
}

function bindable(parameters: Parameters): Record<string, SQLInputValue> {
  return Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, value ?? null]));
}
