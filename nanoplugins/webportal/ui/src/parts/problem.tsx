// An error as people read it: what happened by its code, the server's words, what to do, and details to unfold.
import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import CopyToClipboard from "@cloudscape-design/components/copy-to-clipboard";
import ExpandableSection from "@cloudscape-design/components/expandable-section";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { Component, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { asProblem, type Problem } from "../api/problem";

export function ProblemText({ title, problem }: { title?: string; problem: Problem }) {
  const { t, i18n } = useTranslation(["errors", "common"]);
  const { code, detail, request_id: requestId } = problem.details;
  const known = i18n.exists(`errors:${code}.title`) ? code : "internal";
  return (
    <SpaceBetween size="xxs">
      <Box fontWeight="bold" color="inherit">
        {title ? t("errors:failed", { title, reason: t(`errors:${known}.title`) }) : t(`errors:${known}.title`)}
      </Box>
      {detail && <span>{detail}</span>}
      <span>{t(`errors:${known}.hint`)}</span>
      {requestId && (
        <div className="nano-request">
        <CopyToClipboard
          variant="inline"
          textToCopy={requestId}
          textToDisplay={t("errors:requestId", { id: requestId })}
          copyButtonAriaLabel={t("errors:copyRequestId")}
          copySuccessText={t("common:copied")}
          copyErrorText={t("common:copyFailed")}
        />
        </div>
      )}
    </SpaceBetween>
  );
}

export function ProblemAlert({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const { t } = useTranslation(["errors", "common"]);
  if (!error) return null;
  const problem = asProblem(error);
  return (
    <Alert type="error" action={onRetry && <Button onClick={onRetry}>{t("common:retry")}</Button>}>
      <ProblemText problem={problem} />
      <ExpandableSection headerText={t("errors:technical")} variant="inline">
        <Box variant="code">{JSON.stringify(problem.details, null, 1)}</Box>
      </ExpandableSection>
    </Alert>
  );
}

/** A widget that breaks says so in its place; the rest of the page goes on. */
export class Contain extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: null as unknown };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    if (!this.state.error) return this.props.children;
    return <ProblemAlert error={this.state.error} onRetry={() => this.setState({ error: null })} />;
  }
}
