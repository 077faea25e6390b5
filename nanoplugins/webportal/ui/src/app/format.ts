// The formats of logic/format in the language of the page.
import { useTranslation } from "react-i18next";
import * as format from "../logic/format";

export function useFormat() {
  const { i18n } = useTranslation();
  const language = i18n.language;
  return {
    language,
    number: (value: number, digits = 0) => format.formatNumber(value, language, digits),
    bytes: (value: number | null | undefined) => format.formatBytes(value, language),
    rate: (value: number | null | undefined) => format.formatRate(value, language),
    percent: (value: number | null | undefined, digits = 1) => format.formatPercent(value, language, digits),
    time: (iso: string | null | undefined) => format.formatTime(iso, language),
    ago: (iso: string | null | undefined) => format.formatAgo(iso, language),
  };
}
