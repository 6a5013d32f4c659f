import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseCoordinates, shownCoordinates } from "../../../../manager/sinks/notify-coordinates.ts";

const broker = { tls: false, host: "dev.rabbitmq.com", port: 5672, vhost: "/", user: "guest", password: "guest" };

describe("StratusLab's coordinates", () => {
  it.each([
    ["dev.rabbitmq.com,/,guest,guest,random_queue", { broker, queue: "random_queue" }],
    ["dev.rabbitmq.com,,guest,guest,q", { broker, queue: "q" }],
    ["dev.rabbitmq.com:5673,/,guest,guest,q", { broker: { ...broker, port: 5673 }, queue: "q" }],
    ["[2001:db8::1]:5673,/,guest,guest,q", { broker: { ...broker, host: "2001:db8::1", port: 5673 }, queue: "q" }],
    [
      'dev.rabbitmq.com,"a,b",guest,"say ""x"", y",q',
      { broker: { ...broker, vhost: "a,b", password: 'say "x", y' }, queue: "q" },
    ],
    ['"dev.rabbitmq.com","/","guest","guest"," q "', { broker, queue: " q " }],
  ])("%s are taken apart", (text, coordinates) => {
    expect(parseCoordinates(text)).toEqual(coordinates);
  });

  it.each([
    ["h,/,u,secret", "5 parts are needed, not 4"],
    ["h,/,u,sec,ret,q", "5 parts are needed, not 6; one with a comma in it stands in double quotes"],
    ["", "5 parts are needed, not 1"],
    [",/,u,secret,q", "the host is empty"],
    ["h,/,,secret,q", "the user is empty"],
    ["h,/,u,,q", "the password is empty"],
    ["h,/,u,secret,", "the queue is empty"],
    ['h,/,u,sec"ret,q', "part 4 (password) has a double quote"],
    ['h,/,u,"secret,q', "part 4 (password) has a double quote"],
    ['h,/,u,"sec"ret,q', "part 4 (password) has a double quote"],
    ["h:0,/,u,secret,q", "the host's port must be 1 to 65535"],
    ["h:x,/,u,secret,q", "the host is HOST or HOST:PORT"],
    ["::1,/,u,secret,q", "an IPv6 address stands in brackets"],
    ["a b,/,u,secret,q", "the host must be a name"],
    [`h,/,u,secret,${"q".repeat(256)}`, "the queue has more than 255 bytes"],
  ])("%s are refused, saying which part is wrong and not the password", (text, reason) => {
    expect(() => parseCoordinates(text)).toThrow(
      expect.objectContaining({ code: "usage", message: expect.stringContaining(reason) as unknown }),
    );
    expect(() => parseCoordinates(text)).not.toThrow(/secret/);
  });

  it("are shown without the password", () => {
    expect(shownCoordinates(parseCoordinates('h:5673,"a,b",u,secret,"q""1"'))).toBe('h:5673,"a,b",u,*****,"q""1"');
    expect(shownCoordinates(parseCoordinates("h,,u,secret,q"))).toBe("h,/,u,*****,q");
  });

  it("carry any password and queue when they are quoted", () => {
    const name = fc.string({ minLength: 1, maxLength: 60, unit: "grapheme" });
    const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
    fc.assert(
      fc.property(name, name, (password, queue) => {
        const parsed = parseCoordinates(`h,/,u,${quoted(password)},${quoted(queue)}`);
        expect([parsed.broker.password, parsed.queue]).toEqual([password, queue]);
      }),
    );
  });
});
