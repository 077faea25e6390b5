import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useTranslation } from "react-i18next";
import { useLocation, useRouteError } from "react-router";
import { AppLink, Page, useTitle } from "../parts/page";
import { ProblemAlert } from "../parts/problem";

export function NotFoundPage() {
  const { t } = useTranslation("shell");
  const { pathname } = useLocation();
  return (
    <Page title={t("notFound.title")}>
      <SpaceBetween size="m">
        <Box>{t("notFound.text", { path: pathname })}</Box>
        <AppLink to="/">{t("notFound.back")}</AppLink>
      </SpaceBetween>
    </Page>
  );
}

/** The server did not answer at all, before anybody was logged in. */
export function OfflinePage({ error }: { error: unknown }) {
  const { t } = useTranslation(["shell", "common"]);
  useTitle(t("offline.title"));
  return (
    <main className="nano-login">
      <div>
        <SpaceBetween size="m">
          <Box variant="h1">{t("offline.title")}</Box>
          <ProblemAlert error={error} />
          <Button onClick={() => location.reload()}>{t("common:retry")}</Button>
        </SpaceBetween>
      </div>
    </main>
  );
}

export function BrokenPage() {
  const { t } = useTranslation(["shell", "common"]);
  const error = useRouteError();
  useTitle(t("broken.title"));
  return (
    <main className="nano-login">
      <div>
        <SpaceBetween size="m">
          <Box variant="h1">{t("broken.title")}</Box>
          <ProblemAlert error={error} onRetry={() => location.reload()} />
        </SpaceBetween>
      </div>
    </main>
  );
}
