// Live charts of one instance, node, compute pool or the zone over an hour, a day or a week.
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import SegmentedControl from "@cloudscape-design/components/segmented-control";
import ColumnLayout from "@cloudscape-design/components/column-layout";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { metrics } from "../api/queries";
import { useFormat } from "../app/format";
import { Chart } from "./chart";
import { ProblemAlert } from "./problem";

const HOUR = 3600;
const RANGES = { hour: HOUR, day: 24 * HOUR, week: 7 * 24 * HOUR };
type Range = keyof typeof RANGES;

interface MetricsChartsProps {
  /** The path of what was measured: `instances/ID`, `system`. */
  subject: string;
  memoryBytes: number;
  /** A node also tells how full its disks are. */
  diskBytes?: number;
}

export function MetricsCharts({ subject, memoryBytes, diskBytes }: MetricsChartsProps) {
  const { t } = useTranslation("common");
  const format = useFormat();
  const [range, setRange] = useState<Range>("hour");
  const { data, error } = useQuery(metrics(subject, RANGES[range]));
  const has = (key: string) => data === undefined || key in data.series;
  const span = { seconds: RANGES[range] };
  const one = (key: string) => [{ key, label: t(`series.${key}`) }];
  const pair = (first: string, second: string) => [...one(first), ...one(second)];
  return (
    <Container
      header={
        <Header
          variant="h2"
          actions={
            <SegmentedControl
              label={t("range")}
              selectedId={range}
              onChange={({ detail }) => setRange(detail.selectedId as Range)}
              options={(Object.keys(RANGES) as Range[]).map((key) => ({ id: key, text: t(`ranges.${key}`) }))}
            />
          }
        >
          {t("use")}
        </Header>
      }
    >
      <ProblemAlert error={data ? null : error} />
      <ColumnLayout columns={2} minColumnWidth={260}>
        <Chart title={t("cpu")} data={data} lines={one("cpu_percent")} format={format.percent} max={100} {...span} />
        <Chart title={t("memory")} data={data} lines={one(subject.startsWith("instances") ? "memory_bytes" : "memory_used_bytes")} format={format.bytes} max={memoryBytes || undefined} isBytes {...span} />
        {diskBytes !== undefined && (
          <Chart title={t("disk")} data={data} lines={one("disk_used_bytes")} format={format.bytes} max={diskBytes || undefined} isBytes {...span} />
        )}
        {has("disk_read_bytes_per_second") && (
          <Chart
            title={t("diskUse")}
            data={data}
            lines={pair("disk_read_bytes_per_second", "disk_write_bytes_per_second")}
            format={format.rate}
            isBytes
            {...span}
          />
        )}
        {has("network_receive_bytes_per_second") && (
          <Chart
            title={t("networkUse")}
            data={data}
            lines={pair("network_receive_bytes_per_second", "network_transmit_bytes_per_second")}
            format={format.rate}
            isBytes
            {...span}
          />
        )}
      </ColumnLayout>
    </Container>
  );
}
