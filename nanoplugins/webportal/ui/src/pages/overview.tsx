import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Container from "@cloudscape-design/components/container";
import Grid from "@cloudscape-design/components/grid";
import Header from "@cloudscape-design/components/header";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Spinner from "@cloudscape-design/components/spinner";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { computePools, operations, system } from "../api/queries";
import type { SystemOverview, SystemProblem } from "../api/types";
import { useFormat } from "../app/format";
import { isRunning, Running } from "../app/operations-drawer";
import { OperationsTable } from "./operations";
import { AppLink, Page } from "../parts/page";
import { MetricsCharts } from "../parts/metrics-charts";
import { ProblemAlert } from "../parts/problem";
import { UsageDonuts } from "../parts/donut";

const PROBLEM_PAGES: Record<string, string> = {
  node: "/nodes/",
  instance: "/instances/",
  compute_pool: "/compute-pools/",
  plugin: "/plugins#",
  disk_image: "/disk-images/",
  media_image: "/media-images/",
  storage_pool: "/storage-pools/",
};

export function OverviewPage() {
  const { t } = useTranslation("overview");
  const query = useQuery(system());
  const overview = query.data;
  return (
    <Page title={t("title")}>
      <SpaceBetween size="l">
        {query.isError && <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />}
        {query.isPending && <Spinner />}
        {overview && <Problems problems={overview.problems} />}
        {overview && isNew(overview) && <FirstSteps overview={overview} />}
        {overview && <Counts overview={overview} />}
        {overview && (
          <MetricsCharts subject="system" memoryBytes={overview.usage.memory_bytes} diskBytes={overview.usage.disk_bytes} />
        )}
        {overview && (
          <Grid gridDefinition={[{ colspan: { default: 12, m: 6 } }, { colspan: { default: 12, m: 6 } }]}>
            <Pools />
            <Work />
          </Grid>
        )}
      </SpaceBetween>
    </Page>
  );
}

function Problems({ problems }: { problems: SystemProblem[] }) {
  const { t } = useTranslation("overview");
  if (problems.length === 0) return <StatusIndicator>{t("healthy")}</StatusIndicator>;
  return (
    <Alert type="warning" header={t("problems", { count: problems.length })}>
      <ul className="nano-problems">
        {problems.map((problem) => {
          const page = PROBLEM_PAGES[problem.kind];
          return (
            <li key={problem.kind + problem.id}>
              {page ? <AppLink to={page + problem.id}>{problem.text}</AppLink> : problem.text}
            </li>
          );
        })}
      </ul>
    </Alert>
  );
}

function Counts({ overview }: { overview: SystemOverview }) {
  const { t } = useTranslation("overview");
  const { number } = useFormat();
  const count = (label: string, href: string, value: string) => (
    <div>
      <Box variant="awsui-key-label">{label}</Box>
      <Box fontSize="heading-xl" fontWeight="bold">
        <AppLink to={href} label={`${label}: ${value}`}>
          {value}
        </AppLink>
      </Box>
    </div>
  );
  const of = (part: number, all: number) => t("of", { part: number(part), all: number(all) });
  return (
    <Container header={<Header variant="h2">{t("capacity")}</Header>}>
      <SpaceBetween size="l">
        <div className="nano-stats">
          {count(t("running"), "/instances", of(overview.instances_running, overview.instances))}
          {count(t("online"), "/nodes", of(overview.nodes_online, overview.nodes))}
          {count(t("images"), "/disk-images", number(overview.images))}
        </div>
        <UsageDonuts usage={overview.usage} />
      </SpaceBetween>
    </Container>
  );
}

function Pools() {
  const { t } = useTranslation("overview");
  const query = useQuery(computePools());
  return (
    <Container header={<Header variant="h2">{t("pools")}</Header>}>
      <SpaceBetween size="l">
        {query.isError && <ProblemAlert error={query.error} />}
        {(query.data?.items ?? []).map((pool) => (
          <div key={pool.id}>
            <Box variant="h3">
              <AppLink to={`/compute-pools/${pool.id}`}>{pool.name}</AppLink>
            </Box>
            <Box variant="small">
              {t("poolLine", {
                cells: pool.cells.length,
                reachable: pool.cells_reachable,
                running: pool.instances_running,
                instances: pool.instances,
              })}
            </Box>
            <Box padding={{ top: "xs" }}>
              <UsageDonuts usage={pool.usage} />
            </Box>
          </div>
        ))}
      </SpaceBetween>
    </Container>
  );
}

const firstSteps = (overview: SystemOverview) => [
  { key: "cell", isDone: overview.usage.cores > 0, href: "/nodes" },
  { key: "image", isDone: overview.images > 0, href: "/disk-images" },
  { key: "instance", isDone: overview.instances > 0, href: "/instances/create" },
];

const isNew = (overview: SystemOverview) => firstSteps(overview).some((step) => !step.isDone);

function FirstSteps({ overview }: { overview: SystemOverview }) {
  const { t } = useTranslation("overview");
  const steps = firstSteps(overview);
  return (
    <Container header={<Header variant="h2">{t("steps.title")}</Header>}>
      <ol className="nano-steps">
        {steps.map((step) => (
          <li key={step.key}>
            <StatusIndicator type={step.isDone ? "success" : "pending"}>
              {t(step.isDone ? "steps.done" : "steps.open")}
            </StatusIndicator>
            <AppLink to={step.href}>{t(`steps.${step.key}`)}</AppLink>
          </li>
        ))}
      </ol>
    </Container>
  );
}

function Work() {
  const { t } = useTranslation("overview");
  const query = useQuery(operations());
  const running = (query.data?.items ?? []).filter(isRunning);
  return (
    <Container header={<Header variant="h2">{t("work")}</Header>}>
      <SpaceBetween size="m">
        {query.isError && <ProblemAlert error={query.error} />}
        {running.map((operation) => (
          <Running key={operation.id} operation={operation} />
        ))}
        <OperationsTable items={(query.data?.items ?? []).filter((item) => !isRunning(item)).slice(0, 6)} isShort />
      </SpaceBetween>
    </Container>
  );
}
