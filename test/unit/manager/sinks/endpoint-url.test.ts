import { describe, expect, test } from "vitest";
import { parseEndpointUrl } from "../../../../manager/sinks/endpoint-url.ts";
import type { Endpoint } from "../../../../manager/sinks/endpoint.ts";

const mail = { host: "mail.example.com", port: 25, tls: "opportunistic", from: "vm@example.com" } as const;
const program = { run: ["/bin/true"] as [string, ...string[]], timeout: 1000 };
const config = {
  mail,
  commands: { "update-dns": program },
  gateways: { modem: program },
  targets: { allow: [], http: false },
};
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

function parse(url: string, changes: Partial<typeof config> = {}, secrets: string[] = []): Endpoint {
  return parseEndpointUrl(url, "cloudevents", secrets, { ...config, ...changes });
}

function refusal(url: string, changes: Partial<typeof config> = {}): string {
  try {
    parse(url, changes);
  } catch (error) {
    expect(error).toMatchObject({ name: "CommandError", code: "usage" });
    return (error as Error).message;
  }
  throw new Error(`${url} is an endpoint`);
}

describe("an endpoint", () => {
  test("may be a webhook, with the secrets that sign", () => {
    expect(parse("HTTPS://user:pa%3Ass@Hooks.Example.com:8443/a?b=c", {}, [SECRET])).toEqual({
      type: "webhook",
      url: "https://user:pa%3Ass@hooks.example.com:8443/a?b=c",
      secrets: [SECRET],
      format: "cloudevents",
    });
  });

  test("may be a webhook without TLS where the configuration says so", () => {
    expect(refusal("http://hooks.example.com/")).toContain("events.targets.http");
    expect(parse("http://hooks.example.com/", { targets: { allow: [], http: true } })).toMatchObject({
      type: "webhook",
    });
  });

  test.each(["mailto:ops@example.com", "mailto:ops%40example.com", "MAILTO:ops@example.com"])("may be %s", (url) => {
    expect(parse(url)).toEqual({ type: "mail", to: ["ops@example.com"] });
  });

  test("may be any address that mail is sent to, also of this machine or of a network of its own", () => {
    expect(parse("mailto:root@localhost")).toEqual({ type: "mail", to: ["root@localhost"] });
  });

  test("may be a text message", () => {
    expect(parse("sms:+491701234567?gateway=modem")).toEqual({
      type: "sms",
      gateway: "modem",
      number: "+491701234567",
      format: "cloudevents",
    });
  });

  test("may be a command of the configuration", () => {
    expect(parse("command:update-dns")).toEqual({ type: "command", command: "update-dns", format: "cloudevents" });
  });

  test("may be a broker's exchange", () => {
    const endpoint = parse("amqps://user:word@mq.example.com/vhost?exchange=events");
    expect(endpoint).toMatchObject({
      type: "amqp",
      broker: { tls: true, host: "mq.example.com", vhost: "vhost", user: "user", password: "word" },
      to: { exchange: "events" },
      format: "cloudevents",
    });
  });
});

describe("an endpoint is refused", () => {
  test.each([
    "https://",
    "https://host:99999/",
    "https://user:pa%ss@hooks.example.com/",
    "https://hooks.example.com/\r\nx",
    " https://hooks.example.com/",
    "https://hooks.example.com/\u0000",
  ])("as a webhook: %j", (url) => {
    expect(refusal(url)).toMatch(/^(a webhook|an endpoint)\b.* must /);
  });

  test.each([
    "mailto:",
    "mailto:ops",
    "mailto:a@example.com,b@example.com",
    "mailto:a@example.com%2Cb@example.com",
    "mailto:ops@example.com?subject=x",
    "mailto:ops@example.com%0d%0aRCPT TO:",
    "mailto:ops@example.com%0D%0ABcc:b@example.com",
    "mailto:Ops%20<ops@example.com>",
    "mailto:%zz@example.com",
    `mailto:${"a".repeat(250)}@example.com`,
  ])("as mail: %s", (url) => {
    expect(refusal(url)).toMatch(/^(a mail endpoint must be mailto:ADDRESS|an endpoint must have no spaces)/);
  });

  test("as mail without a server for it", () => {
    const withoutMail = { ...config, mail: undefined };
    expect(() => parseEndpointUrl("mailto:ops@example.com", "cloudevents", [], withoutMail)).toThrow("events.mail");
  });

  test.each([
    "sms:123?gateway=modem",
    "sms:+49-170?gateway=modem",
    "sms:--help?gateway=modem",
    "sms:?gateway=modem",
    "sms:12345",
  ])("as a text message: %s", (url) => {
    expect(refusal(url)).toContain("sms:NUMBER?gateway=NAME");
  });

  test.each(["none", "constructor", "__proto__", "/bin/sh"])("as a text message by a gateway '%s'", (gateway) => {
    expect(refusal(`sms:12345?gateway=${gateway}`)).toContain("no such gateway (known: modem)");
  });

  test.each(["/bin/sh", "../update-dns", "update-dns%20-x", "update-dns;id", "./update-dns", ""])(
    "as a command that is no name: %s",
    (name) => {
      expect(refusal(`command:${name}`)).toContain("paths are not taken");
    },
  );

  test.each(["none", "constructor", "__proto__"])("as a command that nobody configured: %s", (name) => {
    expect(refusal(`command:${name}`)).toBe(
      `events.commands in the manager's configuration has no '${name}' (known: update-dns)`,
    );
  });

  test.each(["ftp://user:hidden@host/", "hooks.example.com", "javascript:alert(1)", "file:///etc/passwd", ""])(
    "when nobody knows what it is, with what is known: %s",
    (url) => {
      expect(refusal(url)).toBe(
        "an endpoint must be one of https://HOST/PATH, mailto:ADDRESS, amqp(s)://USER:PASSWORD@HOST/VHOST?exchange=NAME, sms:NUMBER?gateway=modem, command:update-dns",
      );
    },
  );

  test.each(["https://user:hid%den@host/", "http://user:hidden@host/", "https://user:hidden@host:99999/"])(
    "without its password in the reason: %s",
    (url) => {
      expect(refusal(url)).not.toContain("hid");
    },
  );

  test("when its webhook's secret is none", () => {
    expect(() => parse("https://hooks.example.com/", {}, ["whsec_c2hvcnQ="])).toThrow("a webhook's secret must be");
  });
});
