/** Lines of lists: `key=foo value="two words" time="2012-12-27 09:04:29,890 PST"`. */
import { quoteWord } from "../command-line.ts";
import { formatLocalTime } from "../local-time.ts";

/** In the order given; what is undefined is left out. */
export function fieldsLine(fields: Readonly<Record<string, string | undefined>>): string {
  return Object.entries(fields)
    .flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${quoteWord(value)}`]))
    .join(" ");
}

/** A time of the API, as the console shows all times. */
export function shownTime(time: string): string {
  return formatLocalTime(new Date(time));
}
