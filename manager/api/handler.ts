/** What serves one row of the table of endpoints. */
import type * as z from "zod/mini";
import type { EndpointName, endpoints } from "../../shared/api/endpoints.ts";
import type { Principal } from "../access/principal.ts";

type Row<N extends EndpointName> = (typeof endpoints)[N];
type PartOf<Row, Part extends string> = Row extends Record<Part, infer Schema> ? z.infer<Schema> : undefined;

/** A request, checked: who asks, and the parts that the row has a schema for. */
export interface Request<N extends EndpointName> {
  who: Principal;
  params: PartOf<Row<N>, "params">;
  query: PartOf<Row<N>, "query">;
  body: PartOf<Row<N>, "body">;
  /** The `Last-Event-ID` of a client that resumes a stream. */
  lastEventId: string | undefined;
  /** Aborted when the client went away, or the manager stops. */
  signal: AbortSignal;
}

/** An event of a row's stream, its data as the schema of that name has it. */
type EventOf<Schemas> = {
  [Name in keyof Schemas & string]: { event: Name; data: z.infer<Schemas[Name]>; id?: string | undefined };
}[keyof Schemas & string];

export type Handler<N extends EndpointName> =
  Row<N> extends { stream: infer Schemas }
    ? (request: Request<N>) => AsyncIterable<EventOf<Schemas>>
    : (request: Request<N>) => PartOf<Row<N>, "answer"> | Promise<PartOf<Row<N>, "answer">>;

/** A handler for each of these endpoints. */
export type Handlers<N extends EndpointName = EndpointName> = { [Name in N]: Handler<Name> };
