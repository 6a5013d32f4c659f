/** Times as Oracle VM's CLI prints them: `2012-12-27 09:04:29,890 PST`, in the manager's time zone. */

/** ICU knows a zone's abbreviation only in languages spoken there; elsewhere it says GMT+8. */
const LANGUAGES = ["en-US", "en-GB", "en-AU", "en-IN", "en-ZA", "ja-JP"];

const ABBREVIATION = /^[A-Z]{2,5}$/;

/** `yyyy-MM-dd HH:mm:ss,SSS ZZZ`. @param timeZone an IANA name; without it, the manager's own */
export function formatLocalTime(time: Date, timeZone?: string): string {
  const parts = new Intl.DateTimeFormat("en-US", {
    timeZone,
    hourCycle: "h23",
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    fractionalSecondDigits: 3,
  }).formatToParts(time);
  const part = (type: Intl.DateTimeFormatPartTypes): string => parts.find((each) => each.type === type)?.value ?? "";
  const date = `${part("year")}-${part("month")}-${part("day")}`;
  const clock = `${part("hour")}:${part("minute")}:${part("second")},${part("fractionalSecond")}`;
  return `${date} ${clock} ${zoneName(time, timeZone)}`;
}

function zoneName(time: Date, timeZone: string | undefined): string {
  const names = LANGUAGES.map((language) => zoneNameIn(language, time, timeZone));
  return names.find((name) => ABBREVIATION.test(name)) ?? names[0] ?? "";
}

function zoneNameIn(language: string, time: Date, timeZone: string | undefined): string {
  const parts = new Intl.DateTimeFormat(language, { timeZone, timeZoneName: "short" }).formatToParts(time);
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "";
}
