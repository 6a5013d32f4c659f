import { describe, expect, it } from "vitest";
import { parseAmqpUrl, shownAmqpUrl } from "../../../../manager/amqp/url.ts";

const guest = { user: "guest", password: "guest" };
const local = { tls: false, host: "mq.example.com", port: 5672, vhost: "/", ...guest };
const events = { exchange: "cloudstack-events" };

describe("a broker's URL", () => {
  it.each([
    ["amqp://mq.example.com", { broker: local, to: events }],
    ["amqp://mq.example.com/", { broker: local, to: events }],
    ["amqps://mq.example.com", { broker: { ...local, tls: true, port: 5671 }, to: events }],
    ["amqp://mq.example.com:1234/%2f", { broker: { ...local, port: 1234 }, to: events }],
    [
      "amqp://u%40x:p%3A%2F%25@mq.example.com/v%2Fw",
      {
        broker: { ...local, user: "u@x", password: "p:/%", vhost: "v/w" },
        to: events,
      },
    ],
    ["amqp://u@mq.example.com", { broker: { ...local, user: "u", password: "" }, to: events }],
    ["amqp://[2001:db8::1]:5673/v", { broker: { ...local, host: "2001:db8::1", port: 5673, vhost: "v" }, to: events }],
    ["amqp://mq.example.com?exchange=a%20b+c", { broker: local, to: { exchange: "a b+c" } }],
    ["amqp://mq.example.com/v?queue=q", { broker: { ...local, vhost: "v" }, to: { queue: "q" } }],
  ])("%s is taken apart", (url, target) => {
    expect(parseAmqpUrl(url)).toEqual(target);
  });

  it.each([
    ["http://u:secret@mq.example.com", "this is no URL of a broker"],
    ["mq.example.com", "this is no URL of a broker"],
    ["amqp://u:secret@/v", "this is no URL of a broker"],
    ["amqp://u:secret@h%20x/v", "the host must be a name"],
    ["amqp://u:secret@mq.example.com:0", "the port must be 1 to 65535"],
    ["amqp://u:secret@mq.example.com:99999", "this is no URL of a broker"],
    ["amqp://u:secret@mq.example.com/a/b", "a slash in it; it is written %2F"],
    ["amqp://u:secret%zz@mq.example.com", "the password in the broker's URL is not percent-encoded"],
    ["amqp://:secret@mq.example.com", "the user is empty"],
    ["amqp://u:secret@mq.example.com?exchange=", "the exchange is empty"],
    ["amqp://u:secret@mq.example.com?exchange=a&queue=b", "one query member"],
    ["amqp://u:secret@mq.example.com?heartbeat=5", "exchange and queue, and no other"],
    [`amqp://u:secret@mq.example.com?queue=${"é".repeat(128)}`, "more than 255 bytes"],
    ["amqp://u:secret@mq.example.com?queue=a#b", "a # in a name is written %23"],
  ])("%s is refused without saying the password", (url, reason) => {
    expect(() => parseAmqpUrl(url)).toThrow(
      expect.objectContaining({ code: "usage", message: expect.stringContaining(reason) as unknown }),
    );
    expect(() => parseAmqpUrl(url)).not.toThrow(/secret/);
  });

  it.each([
    ["amqp://u:secret@mq.example.com:5672", "amqp://u@mq.example.com?exchange=cloudstack-events"],
    ["amqps://u%40x:secret@[::1]:5672/v%2Fw?queue=a%20b", "amqps://u%40x@[::1]:5672/v%2Fw?queue=a%20b"],
  ])("%s is shown without its password", (url, shown) => {
    expect(shownAmqpUrl(parseAmqpUrl(url))).toBe(shown);
  });
});
