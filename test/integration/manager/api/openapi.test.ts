import { expect, test } from "vitest";
import { type Endpoint, endpoints } from "../../../../shared/api/endpoints.ts";
import { eventCategories } from "../../../../shared/event-types.ts";
import { version } from "../../../../shared/version.ts";
import { ApiUnderTest } from "./http.ts";

interface Operation {
  operationId: string;
  summary: string;
  parameters?: { name: string; in: string; required: boolean; schema: object }[];
  requestBody?: { required?: boolean; content: Record<string, { schema: object }> };
  responses: Record<string, { description: string; content: Record<string, { schema: object }> }>;
}

interface Document {
  openapi: string;
  info: { version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object>; securitySchemes: object };
  security: object[];
}

async function fetchDocument(): Promise<Document> {
  await using api = await ApiUnderTest.start();
  const { status, headers, json } = await api.curl("/openapi.json");
  expect({ status, type: headers["content-type"]?.[0] }).toMatchObject({
    status: 200,
    type: expect.stringContaining("application/json") as unknown,
  });
  return json as Document;
}

const rows: [string, Endpoint][] = Object.entries(endpoints);

test("the document is OpenAPI 3.1 and says how to authenticate", async () => {
  const { openapi, info, components, security } = await fetchDocument();
  expect({ openapi, version: info.version }).toEqual({ openapi: "3.1.0", version });
  expect(components.securitySchemes).toEqual({
    basic: { type: "http", scheme: "basic" },
    bearer: { type: "http", scheme: "bearer" },
  });
  expect(security).toEqual([{ basic: [] }, { bearer: [] }, {}]);
});

test("every endpoint is described, with all that it takes and answers", async () => {
  const { paths } = await fetchDocument();
  for (const [name, endpoint] of rows) {
    const path = endpoint.path.replace(/:(\w+)/g, "{$1}");
    const operation = paths[path]?.[endpoint.method.toLowerCase()];
    expect(operation, name).toMatchObject({ operationId: name, summary: endpoint.summary });
    const inPath = operation?.parameters?.filter((parameter) => parameter.in === "path").map(({ name }) => name) ?? [];
    expect(inPath.sort(), name).toEqual([...endpoint.path.matchAll(/:(\w+)/g)].map(([, name]) => name).sort());
    expect(operation?.requestBody?.content["application/json"]?.schema !== undefined, name).toBe(
      endpoint.body !== undefined,
    );
    const type = endpoint.stream === undefined ? "application/json" : "text/event-stream";
    expect(operation?.responses["200"]?.content[type]?.schema, name).toBeTypeOf("object");
    expect(operation?.responses["default"]?.content, name).toEqual({
      "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } },
    });
  }
});

test("there is nothing in it but the endpoints and the metrics", async () => {
  const { paths } = await fetchDocument();
  const ids = Object.values(paths).flatMap((path) => Object.values(path).map(({ operationId }) => operationId));
  expect(ids.sort()).toEqual([...rows.map(([name]) => name), "metrics"].sort());
});

test("every reference leads somewhere, and every named schema is used", async () => {
  const document = await fetchDocument();
  const text = JSON.stringify(document);
  const references = [...text.matchAll(/"\$ref":"([^"]*)"/g)].map(([, reference = ""]) => reference);
  const named = Object.keys(document.components.schemas).map((name) => `#/components/schemas/${name}`);
  expect(new Set(references)).toEqual(new Set(named));
  expect(named).toContain("#/components/schemas/VmSummary");
});

test("queries have their types, limits and defaults", async () => {
  const { paths } = await fetchDocument();
  expect(paths["/v1/vms/{vm}/messages"]?.["get"]?.parameters).toContainEqual({
    name: "limit",
    in: "query",
    required: false,
    schema: { type: "integer", minimum: 1, maximum: 1000 },
  });
  expect(paths["/v1/vms/{vm}/keys"]?.["get"]?.parameters).toContainEqual(
    expect.objectContaining({ name: "prefix", in: "query", required: false }) as unknown,
  );
});

test("what may be there many times in a query is a list of what it can be", async () => {
  const { paths } = await fetchDocument();
  const parameters = paths["/v1/events"]?.["get"]?.parameters ?? [];
  const category = parameters.find(({ name }) => name === "category");
  const items = { type: "string", enum: [...eventCategories] };
  expect(category).toEqual({
    name: "category",
    in: "query",
    required: false,
    schema: { type: "array", maxItems: 100, items },
  });
  expect(parameters.find(({ name }) => name === "values")?.schema).toEqual({ type: "string", enum: ["true", "false"] });
});

test("answers leave room for members of later versions", async () => {
  const { components } = await fetchDocument();
  expect(components.schemas["VmSummary"]).not.toHaveProperty("additionalProperties");
  expect(components.schemas["UserChangeInput"]).toMatchObject({ additionalProperties: false });
});

test("the events of a stream are told apart by their names", async () => {
  const { paths } = await fetchDocument();
  const { schema } = paths["/v1/vms/{vm}/watch"]?.["get"]?.responses["200"]?.content["text/event-stream"] ?? {};
  const names = (schema as { anyOf: { properties: { event: { enum: string[] } } }[] }).anyOf.map(
    ({ properties }) => properties.event.enum,
  );
  expect(names).toEqual([["changed"], ["link"], ["error"]]);
});
