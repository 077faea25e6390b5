// A live line chart on uPlot, with a table view of the same numbers.
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Table from "@cloudscape-design/components/table";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { isDark, usePreferences } from "../app/preferences";
import { useFormat } from "../app/format";
import type { Series } from "../api/types";

export interface Line {
  key: string;
  label: string;
}

interface ChartProps {
  title: string;
  data: Series | undefined;
  lines: Line[];
  format(value: number | null): string;
  /** Top of the scale; without it the data decide. */
  max?: number;
  /** How much time the scale covers, however few samples there are. */
  seconds: number;
  /** The scale is divided by powers of two. */
  isBytes?: boolean;
}

const COLOURS = { light: ["#0972d3", "#c33d69"], dark: ["#539fe5", "#eb6f92"] };
const HEIGHT = 150;

export function Chart(props: ChartProps) {
  const { title, data, lines, format } = props;
  const { t } = useTranslation();
  const [isTable, setTable] = useState(false);
  const last = (line: Line) => data?.series[line.key]?.findLast((value) => value !== null) ?? null;
  return (
    <section aria-label={title}>
      <div className="nano-chart-head">
        <Box variant="h3" fontSize="heading-xs">
          {title}
        </Box>
        <span className="nano-chart-now">{lines.map((line) => legend(line, format(last(line)), lines)).join(" · ")}</span>
        <Button
          variant="inline-icon"
          iconName={isTable ? "status-in-progress" : "menu"}
          ariaLabel={t(isTable ? "showChart" : "showTable", { title })}
          onClick={() => setTable(!isTable)}
        />
      </div>
      {isTable ? (
        <Numbers data={data} lines={lines} format={format} title={title} />
      ) : (
        <Plot {...props} />
      )}
    </section>
  );
}

function legend(line: Line, value: string, lines: Line[]): string {
  return lines.length > 1 ? `${line.label} ${value}` : value;
}

function Numbers({ data, lines, format, title }: Pick<ChartProps, "data" | "lines" | "format" | "title">) {
  const { t } = useTranslation();
  const { language } = useFormat();
  const clock = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "medium" });
  const rows = (data?.times ?? []).map((time, index) => ({ time, index })).reverse().slice(0, 20);
  return (
    <Table
      variant="embedded"
      items={rows}
      ariaLabels={{ tableLabel: title }}
      columnDefinitions={[
        { id: "time", header: t("time"), cell: (row) => clock.format(row.time * 1000) },
        ...lines.map((line) => ({
          id: line.key,
          header: line.label,
          cell: (row: { index: number }) => format(data?.series[line.key]?.[row.index] ?? null),
        })),
      ]}
    />
  );
}

function Plot({ data, lines, format, max, title, seconds, isBytes = false }: ChartProps) {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const { language } = useFormat();
  const { theme } = usePreferences();
  const key = lines.map((line) => line.key).join();
  const latest = useRef({ lines, format });
  latest.current = { lines, format };

  useEffect(() => {
    const element = holder.current;
    if (!element) return;
    const { lines: shown, format: show } = latest.current;
    const width = element.clientWidth || 300;
    const look = options({ width, lines: shown, format: show, language, max, seconds, isBytes });
    plot.current = new uPlot(look, [[], ...shown.map(() => [])], element);
    const watcher = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    watcher.observe(element);
    return () => {
      watcher.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [key, language, theme, max, seconds, isBytes]);

  useEffect(() => {
    if (!data || !plot.current) return;
    const columns = key.split(",").map((name) => data.series[name] ?? data.times.map(() => null));
    plot.current.setData([data.times, ...columns] as uPlot.AlignedData);
  }, [data, key, language, theme, max, seconds, isBytes]);

  return <div ref={holder} className="nano-chart" role="img" aria-label={title} />;
}

interface Look {
  width: number;
  lines: Line[];
  format(value: number | null): string;
  language: string;
  max?: number;
  seconds: number;
  isBytes: boolean;
}

const BINARY_STEPS = [0, 1, 2, 3, 4, 5].flatMap((power) =>
  [1, 2, 4, 8, 16, 32, 64, 128, 256, 512].map((step) => step * 1024 ** power),
);
/** Fewer samples than this make no line that one could see. */
const FEW = 3;

function options({ width, lines, format, language, max, seconds, isBytes }: Look): uPlot.Options {
  const dark = isDark();
  const colours = dark ? COLOURS.dark : COLOURS.light;
  const grid = { stroke: dark ? "#2a3a4d" : "#e9ebed", width: 1 };
  const axis = { stroke: dark ? "#b6bec9" : "#5f6b7a", grid, ticks: grid, font: "11px sans-serif" };
  const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(language, { month: "numeric", day: "numeric" });
  const label = (time: number, span: number) => (span > 172_800 ? day : clock).format(time * 1000);
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false },
    scales: {
      x: { range: () => [Date.now() / 1000 - seconds, Date.now() / 1000] },
      y: { range: (_plot, _low, high) => [0, max ?? Math.max(high * 1.15, 1)] },
    },
    axes: [
      { ...axis, values: (_plot, ticks) => ticks.map((tick) => label(tick, (ticks.at(-1) ?? 0) - (ticks[0] ?? 0))) },
      { ...axis, size: 76, ...(isBytes ? { incrs: BINARY_STEPS } : {}), values: (_plot, ticks) => ticks.map((tick) => format(tick)) },
    ],
    series: [
      {},
      ...lines.map((line, index) => ({
        label: line.label,
        stroke: colours[index % colours.length],
        fill: index === 0 ? `${colours[0]}22` : undefined,
        width: 1.5,
        points: { show: (plot: uPlot) => (plot.data[0]?.length ?? 0) < FEW },
      })),
    ],
  };
}
