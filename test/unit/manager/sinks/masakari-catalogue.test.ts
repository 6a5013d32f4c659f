import { describe, expect, test } from "vitest";
import { type Catalogue, masakariUrl } from "../../../../manager/sinks/masakari/catalogue.ts";

type Endpoint = Catalogue[number]["endpoints"][number];

function endpoint(region: string | null, url: string, face = "public"): Endpoint {
  return { interface: face, region, url };
}

function cloud(...endpoints: Endpoint[]): Catalogue {
  const identity = { type: "identity", endpoints: [endpoint("RegionOne", "https://keystone.example/v3")] };
  return [identity, { type: "instance-ha", endpoints }];
}

const one = endpoint("RegionOne", "https://one.example/v1/");
const two = endpoint("RegionTwo", "https://two.example/instance-ha/v1/a0b1c2d3");
const internal = endpoint("RegionOne", "http://10.0.0.7:15868/v1", "internal");

describe("Masakari in Keystone's catalogue", () => {
  test.each([
    ["the only one", cloud(one, internal), { region: undefined, interface: "public" }, "https://one.example/v1"],
    ["of the region", cloud(one, two), { region: "RegionTwo", interface: "public" }, two.url],
    ["of the interface", cloud(one, internal), { region: "RegionOne", interface: "internal" }, internal.url],
    ["the same twice", cloud(two, { ...two, region: null }), { region: undefined, interface: "public" }, two.url],
  ] as const)("is %s", (_, catalogue, wanted, url) => {
    expect(masakariUrl(catalogue, wanted)).toBe(url);
  });

  test.each([
    [[], { region: undefined, interface: "public" }, "has no service 'instance-ha' (it has: nothing)"],
    [
      [
        { type: "identity", endpoints: [] },
        { type: "compute", endpoints: [] },
      ],
      { region: undefined, interface: "public" },
      "has no service 'instance-ha' (it has: identity, compute)",
    ],
    [
      cloud(one, internal),
      { region: "RegionTwo", interface: "public" },
      "has instance-ha not as public in RegionTwo (it has: public in RegionOne, internal in RegionOne)",
    ],
    [
      cloud(one, two),
      { region: undefined, interface: "public" },
      `has instance-ha in several places (${one.url}, ${two.url})`,
    ],
    [
      cloud(endpoint(null, "file:///etc/shadow\u001b[2J")),
      { region: undefined, interface: "public" },
      "says that instance-ha is at file:///etc/shadow\\u001b[2J",
    ],
  ] as const)("that is not there is missed in words that name what is: %#", (catalogue, wanted, words) => {
    expect(() => masakariUrl(catalogue as Catalogue, wanted)).toThrow(
      expect.objectContaining({ name: "CommandError", message: expect.stringContaining(words) as string }),
    );
  });

  test("has no bound in a hostile Keystone, and what is told of it has one", () => {
    const services = Array.from({ length: 5_000 }, (_, index) => ({
      type: `${index}${"x".repeat(200)}`,
      endpoints: [],
    }));
    expect(() => masakariUrl(services, { region: undefined, interface: "public" })).toThrow(/^.{1,4000}$/);
  });
});
